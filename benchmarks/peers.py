"""The same network, weights and input through our bundle and other runtimes, at fp32.

Every contender is a process of its own on the same cores with as many threads, stopped while
another is measured. Outputs are compared with PyTorch's first; then one sample of each is taken
in turn, round by round. The peers' packages are in `.venv-peers` (``make bench``); a peer that
fails is listed with its reason. Our bundle is built from the records in `tuning_logs/`.

    python benchmarks/peers.py [MODEL]... [--threads N] [--rounds R] [--only PEER,...]
"""

import os
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

import click
import msgspec
from papers import NETWORKS
from peers.bundle import build_bundle
from peers.contender import PREPARE_TIMEOUT_S, ContenderError, Worker
from peers.job import Job
from peers.messages import Converted
from peers.report import OURS, PEERS, TITLES, ModelResult, Outcome, Report, table_lines
from peers.rounds import time_in_rounds

from edgetvm.cli import notes
from edgetvm.errors import INTERRUPTED_EXIT_CODE, EdgetvmError, UsageError, did_you_mean
from edgetvm.files import replacing, write_json
from edgetvm.host_cpu import cpu_name
from edgetvm.measurement import utc_now
from edgetvm.recipe import load_recipe
from edgetvm.stages.device.server import HUGE_PAGES

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / "build" / "peers"
PEERS_PYTHON = ROOT / ".venv-peers" / "bin" / "python"
THREAD_VARIABLES = (
    "MKL_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "TVM_NUM_THREADS",
)
TOLERANCE = {OURS: 1e-4} | dict.fromkeys(PEERS, 1e-3)
"""Largest relative error; the peers' is wider for Winograd's sake."""


@click.command()
@click.argument("models", metavar="[MODEL]...", nargs=-1)
@click.option("--threads", type=click.IntRange(min=1), help="Without it, one a usable core.")
@click.option("--rounds", type=click.IntRange(min=2), default=20, show_default=True)
@click.option("--only", metavar="PEER,...", help=", ".join(PEERS))
@click.option("--json", "json_file", type=click.Path(path_type=Path), default=WORK / "peers.json")
@click.option("--table", type=click.Path(path_type=Path), default=WORK / "peers.md")
def peers(
    models: tuple[str, ...],
    threads: int | None,
    rounds: int,
    only: str | None,
    json_file: Path,
    table: Path,
) -> None:
    """Time MODELS in our bundle and in other runtimes; without any, the eight of the papers."""
    cores = sorted(os.sched_getaffinity(0))
    threads = threads or len(cores)
    chosen = tuple(dict.fromkeys(only.split(","))) if only else PEERS
    check_usage(models, chosen, threads, len(cores))
    report = Report(
        measured_at=utc_now(),
        cpu=cpu_name(),
        threads=threads,
        cores=tuple(cores[:threads]),
        rounds=rounds,
        contenders=(OURS, *chosen),
        models=(),
    )
    for model in models or NETWORKS:
        result = measure(model, report)
        report = msgspec.structs.replace(report, models=(*report.models, result))
        write_json(json_file, report)
        with replacing(table) as temporary:
            temporary.write_text("\n".join(table_lines(report)) + "\n")
    print(table.read_text(), end="")


def check_usage(models: tuple[str, ...], chosen: tuple[str, ...], threads: int, cores: int) -> None:
    """Find out what cannot work before anything is built."""
    for model in models:
        load_recipe(model, ROOT / "compile")
    for name in chosen:
        if name not in PEERS:
            raise UsageError(f"--only knows no peer {name!r}: {did_you_mean(name, PEERS)}")
    if threads > cores:
        raise UsageError(f"--threads {threads} are more than the {cores} cores usable here.")
    if not PEERS_PYTHON.exists():
        raise UsageError(f"{PEERS_PYTHON} is missing, the peers' own Python: run make bench.")


def measure(model: str, report: Report) -> ModelResult:
    """Build the model for all contenders, check it, and time those that are right."""
    folder = WORK / "models" / model
    shutil.rmtree(folder, ignore_errors=True)
    notes.print(f"{model}: building the bundle")
    bundle = build_bundle(model, report.threads, WORK / "project")
    outcomes: dict[str, Outcome] = {}
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for name in report.contenders:
            job = Job(
                model=model,
                threads=report.threads,
                cores=report.cores,
                bundle=bundle,
                folder=folder / name,
            )
            try:
                workers[name], outcomes[name] = enter(name, job, stack)
            except ContenderError as err:
                outcomes[name] = Outcome(reason=str(err))
            notes.print(f"{model}: {TITLES[name]}: {outcomes[name].summary()}")
        notes.print(f"{model}: timing")  # no spinner: it would take part
        timed, reasons = time_in_rounds(workers, report.rounds)
    for name, reason in reasons.items():
        outcomes[name] = msgspec.structs.replace(outcomes[name], reason=reason)
    for name, samples in timed.items():
        outcomes[name] = outcomes[name].with_samples(samples, report.threads)
    return ModelResult(model, outcomes)


def enter(name: str, job: Job, stack: ExitStack) -> tuple[Worker, Outcome]:
    """Convert, load and check the model for a contender.

    Raises
    ------
    ContenderError
        One of these failed, or the output is wrong.
    """
    job.folder.mkdir(parents=True)
    converter = start("convert", name, job, stack)
    converter.expect(Converted, PREPARE_TIMEOUT_S)
    converter.close()
    worker = start("run", name, job, stack)
    loaded = worker.load(job.cores)
    if not loaded.relative_error <= TOLERANCE[name]:
        worker.close()
        raise ContenderError(
            f"wrong: relative error {loaded.relative_error:.1e}, allowed are {TOLERANCE[name]:.0e}"
        )
    return worker, Outcome(
        runtime=loaded.runtime, detail=loaded.detail, relative_error=loaded.relative_error
    )


def start(step: str, name: str, job: Job, stack: ExitStack) -> Worker:
    """Start a worker in the contender's environment."""
    python = sys.executable if name == OURS else str(PEERS_PYTHON)
    threads = dict.fromkeys(THREAD_VARIABLES, str(job.threads))
    # Our server gives its sessions large pages; here all contenders get them.
    pages = {"GLIBC_TUNABLES": HUGE_PAGES}
    path = {"PYTHONPATH": f"{ROOT / 'benchmarks'}:{ROOT}"}
    environment = os.environ | threads | pages | path
    command = [python, "-m", "peers.worker", step, name, job.to_json()]
    worker = Worker(command, environment, job.folder / f"{step}.log")
    stack.callback(worker.close)
    return worker


def main() -> None:
    """Run the command; an error is one line."""
    try:
        peers.main(standalone_mode=False)
    except EdgetvmError as err:
        fail(str(err), err.exit_code)
    except click.UsageError as err:
        fail(err.format_message(), UsageError.exit_code)
    except (click.Abort, KeyboardInterrupt):
        fail("interrupted.", INTERRUPTED_EXIT_CODE)


def fail(message: str, exit_code: int) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(exit_code)


if __name__ == "__main__":
    main()
