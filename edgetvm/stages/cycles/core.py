"""What the estimate has to know of a core beside LLVM's description of it: `cores.toml`."""

from pathlib import Path

import msgspec

from edgetvm.files import read_toml

_FILE = Path(__file__).with_name("cores.toml")


class Rewrite(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An instruction that LLVM's description of the core has wrong.

    Attributes
    ----------
    pattern, simulated_as : a regular expression, and what is simulated in its place.
    why : what is wrong.
    """

    pattern: str
    simulated_as: str
    why: str


class Core(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A core; costs are in cycles and come on top of what LLVM's analyser simulates.

    Attributes
    ----------
    l1_ways : of the first-level data cache.
    stream_miss, miss : an access that misses that cache where a prefetcher sees it coming, and one
        where none does.
    shared_line : for which a second-level cache that all cores share is busy with a line; 0 where
        each has its own.
    memory_line : a cache line that comes from behind the second-level cache.
    mispredict : a branch that went another way than predicted.
    call : a call of a function of the C library, or of TVM's runtime.
    gathered, scattered : one lane of a vector whose lanes have an address each.
    launch : a parallel loop on more than one thread.
    clock_mhz : where the profile does not say it.
    band : from which to which multiple of an estimate nine of ten published latencies lie.
    """

    l1_ways: int
    stream_miss: float
    miss: float
    memory_line: float
    shared_line: float = 0.0
    mispredict: float
    call: float
    gathered: float = 0.0
    scattered: float = 0.0
    launch: float = 5000.0
    clock_mhz: int = 0
    band: tuple[float, float] = (0.7, 2.3)
    rewrites: tuple[Rewrite, ...] = ()
    sources: tuple[str, ...] = ()


def load_core(cpu: str) -> Core:
    """Return the core that LLVM calls `cpu`; ``generic`` stands for those that are not there."""
    cores = read_toml(_FILE, _Cores).cores
    return cores.get(cpu, cores["generic"])


class _Cores(msgspec.Struct, frozen=True):
    cores: dict[str, Core]
