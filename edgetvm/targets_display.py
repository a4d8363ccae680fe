"""Target profiles on the terminal; what no source says is left out."""

from collections.abc import Sequence

from rich.console import Console

from edgetvm.comparison_display import print_table
from edgetvm.paper.table import NOTHING, Row
from edgetvm.target_profile import CoreCluster, TargetProfile
from edgetvm.units import format_throughput

COLUMNS = ("Target", "Title", "Arch", "Cores", "GPU", "Peak fp32", "Memory")


def print_targets(console: Console, profiles: Sequence[TargetProfile]) -> None:
    """Print one line a target."""
    print_table(console, "Targets", [target_row(profile) for profile in profiles], COLUMNS)


def print_target(console: Console, profile: TargetProfile) -> None:
    """Print a target's line, what TVM is told of it, and the sources."""
    print_targets(console, [profile])
    console.print(f"TVM target: {profile.tvm_target}", soft_wrap=True)
    if gpu := profile.gpu:
        console.print(
            f"GPU: {gpu.shader_cores} shader cores, work-groups of {gpu.max_threads} threads at "
            f"most, {gpu.local_memory_bytes // 1024} KiB of local memory"
        )
    for source in profile.sources:
        console.print(f"source: {source}", soft_wrap=True)


def target_row(profile: TargetProfile) -> Row:
    """Return a target's cells by their headers; the peak is that of what kernels run on."""
    gpu = profile.gpu
    peak, memory = profile.peak_flop_per_s, profile.memory_bytes_per_s
    return {
        "Target": profile.name,
        "Title": profile.title,
        "Arch": profile.arch,
        "Cores": ", ".join(map(_cores, profile.clusters)),
        "GPU": f"{gpu.shader_cores} shader cores{_clock(gpu.clock_mhz)}" if gpu else NOTHING,
        "Peak fp32": format_throughput(peak) if peak else NOTHING,
        "Memory": f"{memory / 1e9:.1f} GB/s" if memory else NOTHING,
    }


def _cores(cluster: CoreCluster) -> str:
    kind = "" if cluster.name == "all" else f"{cluster.name}: "
    return f"{kind}{cluster.count} {cluster.core}{_clock(cluster.clock_mhz)}"


def _clock(clock_mhz: int) -> str:
    return f" at {clock_mhz} MHz" if clock_mhz else ""
