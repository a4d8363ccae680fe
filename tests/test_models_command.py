"""``python -m edgetvm.models``: the listing, and what it counts."""

import csv
import io

import pytest

from edgetvm.models.__main__ import models
from edgetvm.models.counting import count
from edgetvm.models.listing import published_counts
from edgetvm.paper.figures import Figure, Paper
from edgetvm.paths import DataFolders
from edgetvm.recipe import Recipe, list_recipes
from tests.conftest import Invoke
from tests.zoo import RECIPES


def recipe(factory: str, shape: tuple[int, ...], paper: str = "1801.04381") -> Recipe:
    return Recipe(factory=factory, input_shape=shape, paper=paper)


def test_a_prefix_lists_sizes_beside_the_published_ones(
    project: DataFolders, invoke: Invoke
) -> None:
    outcome = invoke(models, "mobilenet_v2_0.75_160", "shufflenet_g3_0.5_", "--format", "csv")
    assert outcome.exit_code == 0
    rows = {row["Model"]: row for row in csv.DictReader(io.StringIO(outcome.stdout))}
    assert list(rows) == [
        "mobilenet_v2_0.75_160",
        "shufflenet_g3_0.5_480x640",
        "shufflenet_g3_0.5_720x1280",
    ]
    row = rows["mobilenet_v2_0.75_160"]
    assert row["Paper"] == "Sandler et al. 2018, arXiv 1801.04381"
    assert row["Input"] == "3x160x160"
    assert row["Parameters"] == "2,636,424"
    assert row["Multiply-adds"] == "107.3 M"
    assert row["Published multiply-adds"] == "107 M"
    assert row["Difference in multiply-adds"] == "+0.3%"


def test_the_text_form_has_every_model_of_the_prefix(project: DataFolders, invoke: Invoke) -> None:
    outcome = invoke(models, "squeezenet")
    assert [name for name in list_recipes(RECIPES) if name.startswith("squeezenet")]
    for name in list_recipes(RECIPES):
        assert (name in outcome.stdout.split()) == name.startswith("squeezenet"), name


def test_names_alone_are_one_a_line(project: DataFolders, invoke: Invoke) -> None:
    assert invoke(models, "--names").stdout.split() == list_recipes(RECIPES)


def test_an_unknown_name_gets_the_nearest_three(project: DataFolders, invoke: Invoke) -> None:
    outcome = invoke(models, "shuflenet_g3_0.5")
    assert outcome.exit_code == 2
    assert outcome.error.startswith("No model begins with 'shuflenet_g3_0.5': did you mean shuff")
    assert outcome.error.count("shufflenet_") == 3


@pytest.mark.parametrize(
    ("layer", "shape", "parameters", "madds"),
    [
        ("torch.nn:Linear", (1, 10), 10 * 4 + 4, 40),
        ("torch.nn:Conv2d", (3, 10, 7, 7), 10 * 4 * 9 + 4, 10 * 4 * 9 * 25),
        ("torch.nn:ConvTranspose2d", (1, 10, 7, 7), 10 * 4 * 9 + 4, 10 * 4 * 9 * 49),
    ],
)
def test_counts_are_those_of_one_input(
    layer: str, shape: tuple[int, ...], parameters: int, madds: int
) -> None:
    features = {"in_features": 10, "out_features": 4}
    channels = {"in_channels": 10, "out_channels": 4, "kernel_size": 3}
    options = features if layer.endswith("Linear") else channels
    counts = count(Recipe(factory=layer, input_shape=shape, options=options))
    assert (counts.parameters, counts.madds) == (parameters, madds)


def test_the_paper_that_defines_a_network_counts_first() -> None:
    def paper(arxiv: str, *values: dict[str, float]) -> Paper:
        figures = tuple(
            Figure(model="net", printed_as="Net", where=f"Table {index}", source="it", **value)
            for index, value in enumerate(values)
        )
        return Paper(arxiv=arxiv, title="A paper", authors="A", year=2018, figures=figures)

    papers = [
        paper("1704.04861", {"params_m": 1.0, "madds_m": 100.0}),
        paper("1801.04381", {"params_m": 2.0}, {"params_m": 3.0}),
    ]
    found = published_counts("net", recipe("a:b", (1, 3)), papers)
    assert found == {"params_m": 2.0, "madds_m": 100.0}
    assert not published_counts("other", recipe("a:b", (1, 3)), papers)
