"""LLVM's command-line tools, as their Python package brings them."""

import subprocess
from pathlib import Path

from edgetvm.errors import CompileError


def run_llvm(tool: str, arguments: list[str], source: str) -> str:
    """Run one of LLVM's tools on the text `source`; return its output, then its remarks.

    Raises
    ------
    CompileError
        The tool failed; its first message is quoted.
    """
    import llvm

    command = [str(Path(llvm.__file__).parent / "bin" / tool), *arguments, "-o", "-", "-"]
    done = subprocess.run(command, input=source, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[0]
        raise CompileError(f"LLVM's {tool} failed: {reason}")
    return done.stdout + done.stderr
