"""The loops of kernels with their trip counts, as LLVM's scalar evolution knows them."""

import re
from dataclasses import dataclass

from edgetvm.stages.cycles.kernel_code import LAMBDA
from edgetvm.stages.cycles.llvm_tools import run_llvm

UNKNOWN_TRIPS = 8
"""Trips of a loop whose count LLVM does not know."""

_HEADING = re.compile(r"^(?:Printing analysis|Loop info) .*'([^']+)':$")
_TRIPS = re.compile(r"^Loop %(.+?): (?:<multiple exits> )?backedge-taken count is i\d+ (\d+)$")
_UNROLLED = re.compile(r"^Loop %(.+?): .*backedge-taken count is .* smin .* /u (\d+)\)$")
_LOOP = re.compile(r"^ *Loop at depth (\d+) containing: (.*)$")
_BLOCK = re.compile(r'%("[^"]+"|[^<,]+)((?:<\w+>)*)')
_PARALLEL = re.compile(
    rf"^define [^@\n]*@(\w+\.{LAMBDA}[\w.]*)\(.*?@llvm\.smin\.i32\(i32 \S+, i32 (\d+)\)",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Loop:
    """A loop: its first block, all its blocks, and how often it runs through them."""

    header: str
    blocks: frozenset[str]
    trips: int


def find_loops(module: str, threads: int) -> dict[str, list[Loop]]:
    """Return the loops of each function of an LLVM module, the outer before the inner.

    Of a parallel loop's trips those of the busiest of `threads` count.
    """
    passes = "print<scalar-evolution>,print<loops>"
    arguments = [f"-passes={passes}", "-scalar-evolution-classify-expressions=0", "-disable-output"]
    shares = {name: -(-int(extent) // threads) for name, extent in _PARALLEL.findall(module)}
    loops: dict[str, list[Loop]] = {}
    name = ""
    trips: dict[str, int] = {}
    unrolled: dict[str, int] = {}
    for line in run_llvm("opt", arguments, module).splitlines():
        if found := _HEADING.match(line):
            if found[1] != name:
                name, trips, unrolled = found[1], {}, {}
            loops.setdefault(name, [])
        elif found := _TRIPS.match(line):
            trips[found[1]] = int(found[2]) + 1
        elif found := _UNROLLED.match(line):
            unrolled[found[1]] = int(found[2])
        elif found := _LOOP.match(line):
            blocks = _BLOCK.findall(found[2])
            header = next(block for block, marks in blocks if "<header>" in marks)
            names = frozenset(block for block, _ in blocks)
            if header not in trips and found[1] == "1" and LAMBDA in name:
                trips[header] = max(1, shares.get(name, 1) // unrolled.get(header, 1))
            loops[name].append(Loop(header, names, trips.get(header, UNKNOWN_TRIPS)))
    return loops
