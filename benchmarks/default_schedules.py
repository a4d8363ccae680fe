"""TVM's default schedule of each task against the best record of it, within the network.

Would a library be faster if it took the default schedule where that wins? Both libraries are of
the same form of the network (NHWC), one built with the records of ``tuning_logs/`` for this CPU,
the other without any; their operators are profiled in the same run.

    python benchmarks/default_schedules.py [MODEL]... [--threads 1]
"""

from pathlib import Path

import click
import tvm
from rich.console import Console
from rich.table import Table

import edgetvm.stages  # noqa: F401 - TVM's environment, before tvm
from edgetvm.models.resolve import resolve_network
from edgetvm.records import RecordStore
from edgetvm.stages.build.library import build_tuned
from edgetvm.stages.build.network_build import NetworkBuild
from edgetvm.stages.build.records import best_times, parse_records
from edgetvm.stages.device.breakdown import operator_times_s, task_operators_s
from edgetvm.stages.device.choice import device_at
from edgetvm.stages.host_target import TVM_VERSION, detect_host_profile

ROOT = Path(__file__).parents[1]
MODELS = ("mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small", "shufflenet_g3", "squeezenet_1.1")


@click.command()
@click.argument("models", nargs=-1)
@click.option("--threads", type=int, default=1, show_default=True)
def default_schedules(models: tuple[str, ...], threads: int) -> None:
    """Print how often TVM's default schedule of an operator wins in MODELS."""
    table = Table("model", "operators", "default wins", "would gain", "tuned", "default", box=None)
    for model in models or MODELS:
        pairs = operator_pairs(model, threads)
        gains_s = [tuned_s - default_s for tuned_s, default_s in pairs if default_s < tuned_s]
        sums_ms = [f"{sum(side) * 1e3:.2f} ms" for side in zip(*pairs, strict=True)]
        gain = f"{sum(gains_s) * 1e3:.3f} ms"
        table.add_row(model, str(len(pairs)), str(len(gains_s)), gain, *sums_ms)
    Console(width=100).print(table)


def operator_pairs(model: str, threads: int) -> list[tuple[float, float]]:
    """Return the seconds of each operator with a task: tuned, and by default."""
    profile = detect_host_profile()
    network = resolve_network(model, ROOT / "compile")
    with NetworkBuild(network, profile, threads) as build, device_at(None) as address:
        store = RecordStore(ROOT / "tuning_logs" / profile.name, threads)
        lines = store.open(profile.tvm_target, TVM_VERSION)
        records = parse_records(lines, build.workload_keys)
        tuned = build.build_tuned(records)
        fused = build.forms.fastest(best_times(records)).fused
        default = tuned.with_name("default.so")
        build_tuned(fused, tvm.target.Target(profile.tvm_target), profile.link_triple, default, [])
        tuned_s, default_s = (
            task_operators_s(build, operator_times_s(address, build, library))
            for library in (tuned, default)
        )
    return list(zip(tuned_s, default_s, strict=True))


if __name__ == "__main__":
    default_schedules()
