"""Kernels as LLVM IR in, the time they will take on a target out, without running anything.

The machine code of the target, made by LLVM's own back end, is simulated block by block by its
machine code analyser (Laukemann et al., "Automated instruction stream throughput prediction", 2018,
has the approach), and each block counts as often as scalar evolution says that its loops run.
Cache misses come from a simulated window of the kernel's accesses.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tvm.target import Target

from edgetvm.stages.cycles.access_trace import footprint_lines, trace_accesses
from edgetvm.stages.cycles.cache_simulation import MISS, STREAM, simulate
from edgetvm.stages.cycles.core import load_core
from edgetvm.stages.cycles.execution import BlockRuns, execute
from edgetvm.stages.cycles.extra_cycles import extra_cycles
from edgetvm.stages.cycles.ir_function import parse_functions
from edgetvm.stages.cycles.kernel_code import LAMBDA, combine
from edgetvm.stages.cycles.loops import Loop, find_loops
from edgetvm.stages.cycles.machine_code import machine_blocks
from edgetvm.stages.cycles.regions import Region, find_regions
from edgetvm.stages.cycles.throughput import Throughputs
from edgetvm.target_profile import TargetProfile

USUAL_CLOCK_MHZ = 2000
SUSTAINED = 0.4
"""Part of what memory can deliver that programs get: sci-pi.org.uk has 5.2 of 12.8 GB/s for a
Raspberry Pi 4 by STREAM."""

USUAL_L1_BYTES, USUAL_L2_BYTES = 32 * 1024, 512 * 1024
"""Of cores of which no source says it."""


@dataclass(frozen=True)
class CycleEstimate:
    """Cycles of a kernel on the busiest core, by what they are spent on.

    Attributes
    ----------
    code : instructions, their data in the first-level cache.
    branches : leaving loops.
    cache : waiting for the second-level cache.
    memory : waiting for what is behind it.
    launches : handing parallel loops to threads.
    uncached : part of its cache lines that come from behind the second-level cache, 0 to 1.
    clock_mhz : of the core.
    """

    code: float
    branches: float
    cache: float
    memory: float
    launches: float
    uncached: float
    clock_mhz: float

    @property
    def cycles(self) -> float:
        """All of them."""
        return self.code + self.branches + self.cache + self.memory + self.launches

    @property
    def seconds(self) -> float:
        """The same in seconds."""
        return self.cycles / (self.clock_mhz * 1e6)


class CycleModel:
    """Estimates kernels on the cores that `profile` names, run by `threads` threads.

    Attributes
    ----------
    core : whose costs it goes by.
    clock_mhz : of the core.
    throughputs : of the core, which remember what was simulated.
    """

    def __init__(self, profile: TargetProfile, threads: int) -> None:
        options = Target(profile.tvm_target).attrs
        self._cpu = str(options.get("mcpu", "generic"))
        self.core = load_core(self._cpu)
        self._threads = threads
        self._cluster = profile.cluster
        self._line_bytes = profile.cache_line_bytes
        self.clock_mhz = self._cluster.clock_mhz or self.core.clock_mhz or USUAL_CLOCK_MHZ
        self._stream_miss = max(self.core.stream_miss, self.core.shared_line * threads)
        self._memory_line = self.core.memory_line
        if profile.memory_bytes_per_s:
            share = SUSTAINED * profile.memory_bytes_per_s / threads
            line_s = self._line_bytes / share
            self._memory_line = max(self._memory_line, line_s * self.clock_mhz * 1e6)
        self._code_options = [f"-mcpu={self._cpu}"]
        if attributes := ",".join(map(str, options.get("mattr", []))):
            self._code_options.append(f"-mattr={attributes}")
        triple = [f"-mtriple={options['mtriple']}"] if "mtriple" in options else []
        rewrites = [(one.pattern, one.simulated_as) for one in self.core.rewrites]
        self.throughputs = Throughputs([*triple, *self._code_options], rewrites)

    def estimate(self, kernels: Sequence[str]) -> list[CycleEstimate]:
        """Estimate kernels, each a module of LLVM IR as TVM generates it; many at a time are fast.

        Raises
        ------
        CompileError
            One of LLVM's tools refuses a kernel.
        """
        module = combine(kernels)
        loops = find_loops(module, self._threads)
        code = machine_blocks(module, self._code_options)
        functions = parse_functions(module)
        parts: dict[str, list[_Part]] = {}
        for name, blocks in code.items():
            own = loops.get(name, [])
            runs = execute(functions[name], own, self._threads)
            part = _Part(name, own, runs, find_regions(blocks, runs, own))
            parts.setdefault(name.partition(".")[0], []).append(part)
        self.throughputs.simulate(
            region.instructions for all_of in parts.values() for p in all_of for region in p.regions
        )
        return [self._sum(parts.get(f"kernel_{place}", [])) for place in range(len(kernels))]

    def _sum(self, parts: list["_Part"]) -> CycleEstimate:
        code = branches = cache = lines = launches = 0.0
        for part in parts:
            for region in part.regions:
                cycles = self.throughputs.of(region.instructions)
                once = cycles.repeated if region.trips > 1 else cycles.busiest
                code += region.count * (once + extra_cycles(region.instructions, self.core))
                if region.trips > 1:
                    branches += self.core.mispredict * region.count / region.trips
            cache += self._cache_cycles(part)
            lines += footprint_lines(part.runs, part.loops, self._line_bytes)
            if LAMBDA in part.name and self._threads > 1:
                launches += self.core.launch
        # A cache that is too small by half is as good as none where data is passed in turn.
        kept = (self._cluster.l2_bytes or USUAL_L2_BYTES) / self._line_bytes
        if self.core.shared_line:
            kept /= self._threads
        uncached = min(1.0, max(0.0, lines / kept - 1))
        memory = self._memory_line * lines * uncached
        return CycleEstimate(code, branches, cache, memory, launches, uncached, self.clock_mhz)

    def fetch_s(self, size_bytes: float) -> float:
        """Return the seconds in which all threads together get so many bytes from memory."""
        lines = size_bytes / self._line_bytes / self._threads
        return lines * self._memory_line / (self.clock_mhz * 1e6)

    @property
    def cache_bytes_per_s(self) -> float:
        """What all threads together get from their second-level caches at most."""
        cycles_per_s = self.clock_mhz * 1e6 * self._threads
        return self._line_bytes * cycles_per_s / self._stream_miss

    def _cache_cycles(self, part: "_Part") -> float:
        trace = trace_accesses(part.runs, part.loops, self._line_bytes)
        if not len(trace.weights):
            return 0.0
        ways = self.core.l1_ways
        l1_bytes = self._cluster.l1_data_bytes or USUAL_L1_BYTES
        sets = l1_bytes // (ways * self._line_bytes)
        outcomes = simulate(trace.addresses // self._line_bytes, sets, ways)
        streamed = float(np.sum(trace.weights[outcomes == STREAM]))
        missed = float(np.sum(trace.weights[outcomes == MISS]))
        miss = max(self.core.miss, self.core.shared_line * self._threads)
        return self._stream_miss * streamed + miss * missed


@dataclass(frozen=True)
class _Part:
    """A function of a kernel."""

    name: str
    loops: list[Loop]
    runs: dict[str, BlockRuns]
    regions: list[Region]
