"""Which state of the sources is running."""

import subprocess
from pathlib import Path

_CHECKOUT = Path(__file__).parents[1]
_READ_BY_RUNS = ("edgetvm", "compile", "targets")
"""What a bundle depends on; records change with every run, and bundles name those themselves."""


def source_commit(checkout: Path = _CHECKOUT) -> str:
    """Return the commit of a git checkout, with ``-dirty`` if its sources were changed since.

    Empty if this is no checkout, as where edgetvm was installed from a package, or git is missing.
    """
    if not (checkout / ".git").exists():
        return ""
    git = ["git", "-C", str(checkout)]
    try:
        commit = subprocess.run(
            [*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            [*git, "status", "--porcelain", "--", *_READ_BY_RUNS],
            capture_output=True,
            check=True,
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""
    return f"{commit}-dirty" if changed else commit
