"""Cycles of instructions that LLVM's machine code analyser leaves out or takes too lightly."""

import re

from edgetvm.stages.cycles.core import Core

_LANES = {"x": 4, "y": 8, "z": 16}
_GATHER = re.compile(r"^v\w*gather\S+ .*%([xyz])mm\d+ \{")
_SCATTER = re.compile(r"^v\w*scatter\S+ %([xyz])mm")
_CALL = re.compile(r"^(?:callq?|blr?) |^(?:b|jmp) [a-zA-Z_]")
"""Also in the last place, where it is a jump to a name."""


def extra_cycles(instructions: tuple[str, ...], core: Core) -> float:
    """Return what calls, gathers and scatters among `instructions` cost besides."""
    cycles = 0.0
    for line in instructions:
        if gather := _GATHER.match(line):
            cycles += core.gathered * _LANES[gather[1]]
        elif scatter := _SCATTER.match(line):
            cycles += core.scattered * _LANES[scatter[1]]
        elif _CALL.match(line):
            cycles += core.call
    return cycles
