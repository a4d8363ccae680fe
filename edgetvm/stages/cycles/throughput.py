"""Cycles of basic blocks, as LLVM's machine code analyser simulates them."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from edgetvm.stages.cycles.llvm_tools import run_llvm

SIMULATED = 1024
"""Instructions of a region that are simulated at least, by running it over and over."""

MOST_ITERATIONS, LEAST_ITERATIONS = 64, 4

_REGION = re.compile(
    r"Code Region - (\d+)\s.*?Total Cycles:\s+(\d+)\s.*?Block RThroughput:\s+([\d.]+)", re.DOTALL
)


class Cycles(NamedTuple):
    """Cycles of a region that follows itself, and that its busiest unit needs at least."""

    repeated: float
    busiest: float


class Throughputs:
    """Cycles of regions on one core; one that was seen before costs nothing.

    Parameters
    ----------
    options : of ``llvm-mca``, such as ``-mcpu=cortex-a72``.
    rewrites : patterns of instructions that LLVM's description of the core has wrong, and what is
        simulated in their place.
    """

    def __init__(self, options: list[str], rewrites: Iterable[tuple[str, str]] = ()) -> None:
        self._options = [*options, "-instruction-info=0", "-resource-pressure=0"]
        self._options.append("-skip-unsupported-instructions=any")
        self._rewrites = [(re.compile(pattern), new) for pattern, new in rewrites]
        self._known: dict[tuple[str, ...], Cycles] = {}

    def simulate(self, regions: Iterable[tuple[str, ...]]) -> None:
        """Simulate those of `regions` that are new, in a few runs of the analyser.

        Raises
        ------
        CompileError
            The analyser failed.
        """
        groups: dict[int, list[tuple[str, ...]]] = {}
        for region in dict.fromkeys(regions):
            if region not in self._known:
                iterations = MOST_ITERATIONS
                while iterations > LEAST_ITERATIONS and iterations * len(region) > SIMULATED:
                    iterations //= 2
                groups.setdefault(iterations, []).append(region)
        for iterations, group in groups.items():
            self._run(iterations, group)

    def of(self, region: tuple[str, ...]) -> Cycles:
        """Return the cycles of a region that was simulated; none if the analyser left it out."""
        return self._known.get(region, Cycles(0.0, 0.0))

    def _run(self, iterations: int, regions: list[tuple[str, ...]]) -> None:
        text = []
        for place, region in enumerate(regions):
            lines = "\n".join(map(self._rewritten, region))
            text.append(f"# LLVM-MCA-BEGIN {place}\n{lines}\n# LLVM-MCA-END\n")
        options = [*self._options, f"-iterations={iterations}"]
        for place, total, busiest in _REGION.findall(run_llvm("llvm-mca", options, "".join(text))):
            cycles = Cycles(int(total) / iterations, float(busiest))
            self._known[regions[int(place)]] = cycles

    def _rewritten(self, instruction: str) -> str:
        for pattern, new in self._rewrites:
            instruction = pattern.sub(new, instruction)
        return instruction
