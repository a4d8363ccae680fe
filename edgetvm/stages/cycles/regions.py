"""Machine code in the pieces that are simulated: the bodies of inner loops, and all else."""

from dataclasses import dataclass

from edgetvm.stages.cycles.execution import BlockRuns
from edgetvm.stages.cycles.loops import Loop
from edgetvm.stages.cycles.machine_code import MachineBlock

LIKELY = 0.5
"""A block in an inner loop belongs to its body if it runs in this part of the iterations."""


@dataclass(frozen=True)
class Region:
    """Instructions that run one after the other.

    Attributes
    ----------
    count : how often they run.
    trips : if they are a loop's body, how often in a row; else 1.
    """

    instructions: tuple[str, ...]
    count: float
    trips: int


def find_regions(
    code: list[MachineBlock], runs: dict[str, BlockRuns], loops: list[Loop]
) -> list[Region]:
    """Return the regions of a function, in no order."""
    counts = _counts(code, runs)
    regions, done = [], set()
    for loop in loops:
        inside = [place for place, block in enumerate(code) if block.source in loop.blocks]
        if any(other.header in loop.blocks for other in loops if other is not loop):
            continue
        once = runs[loop.header].count if loop.header in runs else 0.0
        body = [place for place in inside if counts[place] >= LIKELY * once]
        instructions = tuple(line for place in body for line in code[place].instructions)
        if instructions:
            regions.append(Region(instructions, once, loop.trips))
            done.update(body)
    for place, block in enumerate(code):
        if place not in done:
            regions.append(Region(block.instructions, counts[place], 1))
    return [region for region in regions if region.count > 0]


def _counts(code: list[MachineBlock], runs: dict[str, BlockRuns]) -> list[float]:
    """Return how often each block runs; one that LLVM added at the end, as its rarer neighbour."""
    known = [runs[block.source].count if block.source in runs else None for block in code]
    counts = []
    for place, count in enumerate(known):
        near = [one for one in known[max(0, place - 1) : place + 2] if one is not None]
        counts.append(count if count is not None else min(near, default=0.0))
    return counts
