"""Our side: a bundle built from the records, apart from the user's own bundles."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from edgetvm.errors import CompileError

ROOT = Path(__file__).resolve().parents[2]


def build_bundle(model: str, threads: int, project: Path) -> Path:
    """Build `model` for this machine in the data folder `project` and return the bundle.

    Raises
    ------
    CompileError
        The build failed; the message has its reason.
    """
    shutil.rmtree(project, ignore_errors=True)
    for name in ("compile", "targets", "tuning_logs"):
        shutil.copytree(ROOT / name, project / name)
    command = [sys.executable, "-m", "edgetvm.tune", model, "--target", "host"]
    done = subprocess.run(
        [*command, "--threads", str(threads), "--trials", "0"],
        cwd=ROOT,
        env=os.environ | {"EDGETVM_ROOT": str(project)},
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        reason = done.stderr.strip().rpartition("\n")[2].removeprefix("error: ")
        raise CompileError(f"No bundle of {model}: {reason}")
    (bundle,) = project.glob(f"build/*/{model}")
    return bundle
