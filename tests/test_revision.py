"""The commit that a bundle was built from."""

import subprocess
from pathlib import Path

import pytest

from edgetvm.revision import source_commit


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in ("edgetvm", "tuning_logs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("one")
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "First")
    return tmp_path


def test_a_checkout_names_its_commit_and_whether_its_sources_changed(checkout: Path) -> None:
    commit = git(checkout, "rev-parse", "HEAD")
    (checkout / "tuning_logs" / "file").write_text("two")
    assert source_commit(checkout) == commit
    (checkout / "edgetvm" / "file").write_text("two")
    assert source_commit(checkout) == f"{commit}-dirty"


def test_without_a_checkout_or_git_there_is_none(
    tmp_path: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert source_commit(tmp_path / "edgetvm") == ""
    monkeypatch.setenv("PATH", "")
    assert source_commit(checkout) == ""
