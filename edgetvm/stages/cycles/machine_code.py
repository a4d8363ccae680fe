"""Kernels as machine code: their basic blocks, with the block of LLVM IR that each comes from."""

import re
from dataclasses import dataclass

from edgetvm.stages.cycles.llvm_tools import run_llvm

_FUNCTION = re.compile(r"^(kernel_\d+\.[\w.]+):")
_LABEL = re.compile(r'^(?:\.LBB\d+_\d+:|(?:#|//) %bb\.\d+:)\s*(?:(?:#|//) %("[^"]+"|\S+))?')
_END = re.compile(r"^\.Lfunc_end")
_COMMENT = re.compile(r"\s+(?:#|//) .*$")


@dataclass(frozen=True)
class MachineBlock:
    """A basic block: its instructions, and the name of its block of LLVM IR, empty if unknown."""

    source: str
    instructions: tuple[str, ...]


def machine_blocks(module: str, options: list[str]) -> dict[str, list[MachineBlock]]:
    """Return the blocks of each kernel of an LLVM module, in the order of the code.

    Parameters
    ----------
    options : of ``llc``, such as ``-mcpu=cortex-a72``.
    """
    code = run_llvm("llc", ["-O3", "-relocation-model=pic", *options], module)
    blocks: dict[str, list[MachineBlock]] = {}
    name, source = "", ""
    lines: list[str] = []
    for line in code.splitlines():
        label = _LABEL.match(line)
        function = _FUNCTION.match(line)
        if (label or function or _END.match(line)) and name:
            if lines:
                blocks[name].append(MachineBlock(source, tuple(lines)))
            source, lines = (label[1] or source) if label else "", []
        if function:
            name = function[1]
            blocks[name] = []
        elif _END.match(line):
            name = ""
        elif name and line.startswith("\t") and line[1] not in ".#/":
            lines.append(_COMMENT.sub("", line.strip()).replace("\t", " "))
    return blocks
