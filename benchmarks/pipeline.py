"""The pipeline's own speed: from a PyTorch module to a tuned library, stock TVM against edgetvm.

Both sides build the same network for the same CPU, each in a process of its own, in turn. The
stock side is what TVM's tutorials do: trace, import, extract tasks, build with the default passes.
Ours takes the same steps; both link with the same linker.

    python benchmarks/pipeline.py [--model mobilenet_v2] [--rounds 3]

Records are those in ``tuning_logs/`` for this CPU; without any, both sides build TVM's default
schedules for NHWC.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parent.parent
SIDES = ("stock", "edgetvm")
STEPS = ("trace and import", "extract tasks", "build and link")


class Laps:
    """Wall time of each step, seconds."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._started_s = time.perf_counter()

    def lap(self, step: str) -> None:
        now_s = time.perf_counter()
        self.seconds[step] = now_s - self._started_s
        self._started_s = now_s


def stock(model: str, threads: int, library: Path) -> dict[str, float]:
    """Trace, import, extract and build the way TVM's documentation does."""
    import torch
    import tvm
    from tvm import auto_scheduler, relay

    import edgetvm.stages  # noqa: F401 - TVM's environment, for both sides alike
    from edgetvm.models.resolve import resolve_network
    from edgetvm.stages.host_target import detect_host_profile

    network, profile = resolve_network(model, ROOT / "compile"), detect_host_profile()
    target = tvm.target.Target(profile.tvm_target)
    records = records_file(profile.name, threads)
    laps = Laps()
    traced = torch.jit.trace(network.module, torch.from_numpy(network.golden_input()))
    mod, params = relay.frontend.from_pytorch(traced, [("input", network.input_shape)])
    with tvm.transform.PassContext(opt_level=3):
        mod = relay.transform.InferType()(mod)
        mod = relay.transform.ConvertLayout({"nn.conv2d": ["NHWC", "default"]})(mod)
    laps.lap(STEPS[0])
    auto_scheduler.extract_tasks(mod["main"], params, target)
    laps.lap(STEPS[1])
    config = {"relay.backend.use_auto_scheduler": True}
    with (
        auto_scheduler.ApplyHistoryBest(str(records) if records else []),
        tvm.transform.PassContext(opt_level=3, config=config),
    ):
        built = relay.build(mod, target=target, params=params)
    built.export_library(str(library), fcompile=linker(profile.link_triple))
    laps.lap(STEPS[2])
    return laps.seconds


def edgetvm(model: str, threads: int, library: Path) -> dict[str, float]:
    """Do the same through edgetvm's own stages."""
    import tvm

    import edgetvm.stages  # noqa: F401 - before tvm
    from edgetvm.models.resolve import resolve_network
    from edgetvm.stages.build.library import build_tuned
    from edgetvm.stages.build.records import parse_records
    from edgetvm.stages.build.tasks import extract_tasks
    from edgetvm.stages.export.optimise import fuse_for_auto_scheduler
    from edgetvm.stages.export.relay_import import import_network
    from edgetvm.stages.host_target import detect_host_profile

    network, profile = resolve_network(model, ROOT / "compile"), detect_host_profile()
    target = tvm.target.Target(profile.tvm_target)
    records = records_file(profile.name, threads)
    laps = Laps()
    mod = import_network(network)
    laps.lap(STEPS[0])
    fused = fuse_for_auto_scheduler(mod, target)
    keys = {task.workload_key for task in extract_tasks(fused, profile, threads)}
    laps.lap(STEPS[1])
    lines = records.read_text().splitlines() if records else []
    build_tuned(fused, target, profile.link_triple, library, parse_records(lines, keys))
    laps.lap(STEPS[2])
    return laps.seconds


def linker(link_triple: str) -> Callable[..., None]:
    from edgetvm.stages.build.linker import link_library

    return lambda path, objects, **_: link_library(
        [Path(o) for o in objects], Path(path), link_triple
    )


def records_file(target: str, threads: int) -> Path | None:
    path = ROOT / "tuning_logs" / target / f"threads_{threads}.json"
    return path if path.exists() else None


def run_side(side: str, model: str, threads: int) -> dict[str, float]:
    """Run one side in a fresh process, as a user's command would be."""
    library = ROOT / "build" / "benchmark" / f"{side}.so"
    library.parent.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable,
        __file__,
        "--side",
        side,
        "--model",
        model,
        "--threads",
        str(threads),
    ]
    done = subprocess.run(
        [*command, "--library", str(library)], check=False, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="mobilenet_v2")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--library", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        side = stock if options.side == "stock" else edgetvm
        print(json.dumps(side(options.model, options.threads, options.library)))
        return
    rounds = [
        {side: run_side(side, options.model, options.threads) for side in SIDES}
        for _ in range(options.rounds)
    ]
    print(f"{options.model}, medians of {options.rounds} rounds, seconds")
    print(f"{'step':<18}{'stock':>10}{'edgetvm':>10}{'ratio':>8}")
    for step in (*STEPS, "sum"):
        stock_s, ours_s = (
            statistics.median(
                sum(r[side].values()) if step == "sum" else r[side][step] for r in rounds
            )
            for side in SIDES
        )
        print(f"{step:<18}{stock_s:>10.1f}{ours_s:>10.1f}{stock_s / ours_s:>8.1f}")


if __name__ == "__main__":
    main()
