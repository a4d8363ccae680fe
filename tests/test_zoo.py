"""Every architecture through the compiler: all tasks tunable, all libraries right."""

from pathlib import Path

import pytest

from edgetvm.models.resolve import resolve_network
from tests.candidates import check_candidates
from tests.zoo import RECIPES, SMALLEST


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALLEST)
def test_random_schedules_of_all_tasks_are_valid_and_right(name: str, tmp_path: Path) -> None:
    assert check_candidates(resolve_network(name, RECIPES), tmp_path)
