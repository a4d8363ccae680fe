"""Where the project's data folders are.

The folders `compile/` (recipes), `targets/` (profiles), `tuning_logs/` (records) and `build/`
(bundles) are looked for in the directory that ``EDGETVM_ROOT`` names, else in the working
directory if it holds recipes and profiles, else in the checkout that the code lies in. An
installed wheel carries recipes and profiles of its own; there, records and bundles are written
below the working directory.
"""

import os
from dataclasses import dataclass
from pathlib import Path

_PACKAGE = Path(__file__).parent


@dataclass(frozen=True)
class DataFolders:
    """The four data folders of a project."""

    recipes: Path
    profiles: Path
    tuning_logs: Path
    bundles: Path

    @classmethod
    def below(cls, data: Path, output: Path) -> "DataFolders":
        """Recipes and profiles below `data`, records and bundles below `output`."""
        return cls(data / "compile", data / "targets", output / "tuning_logs", output / "build")


def find_data_folders() -> DataFolders:
    """Locate the data folders; see the module's docstring for the order."""
    named = os.environ.get("EDGETVM_ROOT")
    if named:
        return DataFolders.below(Path(named), Path(named))
    for root in (Path.cwd(), _PACKAGE.parent):
        if (root / "compile").is_dir() and (root / "targets").is_dir():
            return DataFolders.below(root, root)
    return DataFolders.below(_PACKAGE / "_share", Path.cwd())
