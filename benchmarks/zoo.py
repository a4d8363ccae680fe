"""Build and deploy every model of `compile/` on this machine, and write what came of it.

Each model goes through ``edgetvm.tune MODEL --target host --trials 0`` and ``edgetvm.deploy``,
without tuning records, several models at a time; so nothing here is a latency. Results are
appended to `build/zoo/results.jsonl` and taken up again; models without any keep their rows in the
table; ``--jobs 0`` only writes it.

    python benchmarks/zoo.py [MODEL]... [--jobs N] [--table docs/zoo.md]
"""

import multiprocessing
import shutil
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import ExitStack
from multiprocessing.queues import Queue
from pathlib import Path

import click
import msgspec
from rich.progress import Progress

from edgetvm.cli import notes
from edgetvm.errors import one_line
from edgetvm.models.counting import count
from edgetvm.recipe import Recipe, load_recipes
from edgetvm.stages.device.loopback import loopback_server

ROOT = Path(__file__).parents[1]
WORK = ROOT / "build" / "zoo"
RESULTS = WORK / "results.jsonl"

server = ""
"""Address of this worker's loopback server."""


class Outcome(msgspec.Struct, frozen=True):
    """What came of one model; `error` is empty if its bundle was verified."""

    model: str
    error: str
    tasks: int = 0
    outputs: tuple[tuple[int, ...], ...] = ()
    relative_error: float = 0.0


@click.command()
@click.argument("models", nargs=-1)
@click.option("--jobs", type=int, default=multiprocessing.cpu_count(), show_default=True)
@click.option("--table", type=click.Path(path_type=Path), default=ROOT / "docs" / "zoo.md")
@click.option("--afresh", is_flag=True, help="Forget earlier results.")
def zoo(models: tuple[str, ...], jobs: int, table: Path, afresh: bool) -> None:
    """Verify MODELS, or all there are, and write the table."""
    WORK.mkdir(parents=True, exist_ok=True)
    if afresh:
        RESULTS.unlink(missing_ok=True)
    recipes = load_recipes(ROOT / "compile")
    done = {one.model for one in read_results() if not one.error}
    wanted = [name for name in models or recipes if name not in done] if jobs else []
    if wanted:
        verify_all(wanted, jobs)
    outcomes = {one.model: one for one in read_results()}
    table.write_text("\n".join(write_table(recipes, outcomes, read_rows(table))) + "\n")
    failed = [one.model for one in outcomes.values() if one.error]
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def verify_all(models: list[str], jobs: int) -> None:
    """Verify `models`, `jobs` of them at a time."""
    spawn = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        addresses = spawn.Queue()
        for _ in range(jobs):
            addresses.put(str(stack.enter_context(loopback_server())))
        pool = stack.enter_context(ProcessPoolExecutor(jobs, spawn, take_server, (addresses,)))
        progress = stack.enter_context(Progress(console=notes))
        bar = progress.add_task("", total=len(models))
        for ended in as_completed(pool.submit(verify, name) for name in models):
            outcome = ended.result()
            progress.advance(bar)
            progress.print(f"{outcome.model}: {outcome.error or f'{outcome.relative_error:.1e}'}")


def take_server(addresses: "Queue[str]") -> None:
    """Give a worker a server of its own to deploy to, and a single core."""
    import torch

    torch.set_num_threads(1)
    global server  # noqa: PLW0603 - the way to hand something to a pool's workers
    server = addresses.get()


def verify(model: str) -> Outcome:
    """Run both commands on one model in a project folder of its own, and note the result."""
    from edgetvm import deploy, tuning_run
    from edgetvm.paths import DataFolders
    from edgetvm.tuning_options import TuneOptions

    with tempfile.TemporaryDirectory(prefix="zoo-") as folder:
        project = Path(folder)
        folders = DataFolders.below(project, project)
        for name in ("compile", "targets"):
            shutil.copytree(ROOT / name, project / name)
        try:
            options = TuneOptions(model=model, target="host", trials=0, rpc=server)
            tuning_run.run(options, folders)
            deploy.run(deploy.DeployOptions(models=(model,), rpc=server, repeat=2), folders)
            outcome = read_bundle(project, model)
        except Exception as err:  # noqa: BLE001 - the next model has its turn all the same
            outcome = Outcome(model, f"{type(err).__name__}: {one_line(err)}")
    with RESULTS.open("ab") as file:
        file.write(msgspec.json.encode(outcome) + b"\n")
    return outcome


def read_bundle(project: Path, model: str) -> Outcome:
    """Read what the bundle and its run say."""
    from edgetvm.manifest import read_manifest
    from edgetvm.measurement import latest_run

    bundle = next(project.glob(f"build/*/{model}"))
    manifest, measured = read_manifest(bundle), latest_run(bundle)
    assert measured is not None
    return Outcome(model, "", len(manifest.tasks), manifest.output_shapes, measured.relative_error)


def read_results() -> list[Outcome]:
    """Return the results so far, the last of each model."""
    if not RESULTS.exists():
        return []
    decoder = msgspec.json.Decoder(Outcome)
    outcomes = decoder.decode_lines(RESULTS.read_bytes())
    return list({outcome.model: outcome for outcome in outcomes}.values())


def read_rows(table: Path) -> dict[str, str]:
    """Return the rows that the table has, by model."""
    lines = table.read_text().splitlines() if table.exists() else []
    return {line.split("`")[1]: line for line in lines if line.startswith("| `")}


def write_table(
    recipes: dict[str, Recipe], outcomes: dict[str, Outcome], rows: dict[str, str]
) -> Iterator[str]:
    """Yield the lines of the table, with the counts of every model; `rows` are those so far."""
    yield "# What came of building each model"
    yield ""
    yield (
        "Written by `make zoo`: each model traced, compiled untuned for an x86 CPU, deployed, and "
        "compared with PyTorch (largest error of any output, relative to its magnitude)."
    )
    yield ""
    yield "| model | input | outputs | parameters | multiply-adds, M | tasks | relative error |"
    yield "|---|---|---|--:|--:|--:|--:|"
    for name, recipe in recipes.items():
        if name in rows and name not in outcomes:
            yield rows[name]
            continue
        outcome = outcomes.get(name, Outcome(name, "not run yet"))
        counts = count(recipe)
        shapes = ", ".join(text(shape) for shape in outcome.outputs)
        result = outcome.error or f"{outcome.relative_error:.1e}"
        yield (
            f"| `{name}` | {text(recipe.input_shape)} | {shapes} | {counts.parameters:,} "
            f"| {counts.madds / 1e6:,.1f} | {outcome.tasks} | {result} |"
        )


def text(shape: tuple[int, ...]) -> str:
    """Write a shape without the batch."""
    return "x".join(map(str, shape[1:]))


if __name__ == "__main__":
    zoo()
