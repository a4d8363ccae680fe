"""``python -m edgetvm.records``: see, verify, share and thin out the tuning records of a target."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.progress import track

from edgetvm import __version__
from edgetvm.cli import (
    TargetName,
    json_option,
    notes,
    print_json,
    require_host_packages,
    results,
    run_command,
)
from edgetvm.errors import UsageError, did_you_mean
from edgetvm.manifest import read_manifest
from edgetvm.paths import find_data_folders
from edgetvm.records import RecordStore
from edgetvm.records.compaction import compact as compacted
from edgetvm.records.line import workload_key_of
from edgetvm.records.merging import merge_into, read_foreign
from edgetvm.records.store import find_store, list_stores, stores_of, target_of
from edgetvm.records.summary import WorkloadSummary, summarise_store, summarise_workloads
from edgetvm.records_display import (
    note_undefined,
    print_stores,
    print_verdicts,
    print_workloads,
    verdict_row,
)
from edgetvm.target_profile import HOST

if TYPE_CHECKING:
    from edgetvm.target_profile import TargetProfile

Command = Callable[..., None]


@click.group(no_args_is_help=False)
@click.version_option(__version__)
def records() -> None:
    """See, verify, share and thin out the tuning records of a target.

    \b
    Examples:
      python -m edgetvm.records list
      python -m edgetvm.records verify --target host
      python -m edgetvm.records merge theirs/threads_2.json --target host
    """


def _of_a_store(command: Command) -> Command:
    """Add the options that say which store is meant."""
    threads = click.option(
        "--threads", type=click.IntRange(min=1), help="Of how many threads.  [default: the only]"
    )
    target = click.option(
        "--target",
        type=TargetName(),
        default=HOST,
        show_default=True,
        help="Whose records, as tune has it.",
    )
    return target(threads(command))


@records.command("list")
@click.option("--target", type=TargetName(), help="Show the workloads of this target's stores.")
@click.option("--threads", type=click.IntRange(min=1), help="Only stores of so many threads.")
@json_option
def list_records(target: str | None, threads: int | None, json: bool) -> None:
    """List the stores, or with --target the workloads that were tuned for it."""
    logs = find_data_folders().tuning_logs
    stores = list_stores(logs) if target is None else stores_of(logs, _folder_name(target))
    stores = [store for store in stores if threads in (None, store.threads)]
    if target is None:
        summaries = [summarise_store(store) for store in stores]
        print_json(summaries) if json else print_stores(results, summaries)
        note_undefined(notes, sum(summary.undefined for summary in summaries))
        return
    if json:
        rows = {f"{store.path}": [one.as_row() for one in _summaries(store)] for store in stores}
        print_json(rows)
        return
    for store in stores:
        workloads = _summaries(store)
        print_workloads(results, f"{store.path}", workloads)
        note_undefined(notes, sum(summary.workload is None for summary in workloads))


@records.command()
@_of_a_store
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text")
@click.option("--json", "form", flag_value="json", help="The same as --format json.")
def best(target: str, threads: int | None, form: str) -> None:
    """Show the best record of each workload; in JSON with the record itself."""
    store = _find_store(target, threads)
    valid = [summary for summary in _summaries(store) if summary.best is not None]
    if form == "text":
        print_workloads(results, f"Best records of {store.path}", valid)
        note_undefined(notes, sum(summary.workload is None for summary in valid))
        return
    print_json([summary.as_row() for summary in valid])


@records.command()
@_of_a_store
@click.option("--keep", type=click.IntRange(min=1), help="Keep only so many of each workload.")
@click.option("--spread", type=click.IntRange(min=0), default=0, help="And so many slower ones.")
def compact(target: str, threads: int | None, keep: int | None, spread: int) -> None:
    """Remove records of a schedule that another record has too, the slower ones.

    With --keep only the fastest of each workload stay, and no failed ones; --spread keeps others
    too, evenly over their times, for a cost model to learn from.
    """
    if spread and keep is None:
        raise click.UsageError("--spread goes with --keep, without which all schedules stay.")
    store = _find_store(target, threads)
    before = len(store.read_lines())
    choices = store.choices.read()
    gone = store.edit(lambda lines: compacted(lines, keep, spread, choices))
    results.print(f"{store.path}: {gone} of {before} records removed")


@records.command()
@_of_a_store
@click.option("--all", "every", is_flag=True, help="Every valid record, not only the best.")
@click.option("--rpc", metavar="HOST[:PORT]", help="Device; without it this machine.")
@click.option("--drop", "dropping", is_flag=True, help="Move bad records to .rejected.")
@json_option
def verify(
    target: str, threads: int | None, every: bool, rpc: str | None, dropping: bool, json: bool
) -> None:
    """Rebuild the best record of each workload, alone, and compare its output.

    The reference is the same computation unscheduled, on the same random input. The exit code is
    5 if an output is wrong, and 6 if a record cannot be rebuilt or judged; --drop cures both.
    """
    require_host_packages()
    from edgetvm.stages.host_target import TVM_VERSION
    from edgetvm.stages.verify.store import choose_records, raise_unless_right, verify_records

    store, profile = _find_store(target, threads), _profile(target)
    store.check_provenance(profile.tvm_target, TVM_VERSION)
    groups, undefined = choose_records(store, every=every)
    following = track(
        verify_records(groups, profile, store.threads, rpc),
        "verifying",
        total=sum(len(lines) for _, lines in groups),
        console=notes,
        transient=True,
    )
    verdicts = print_verdicts(notes if json else results, store, following)
    if json:
        print_json([verdict_row(verdict) for verdict in verdicts])
    bad = {verdict.line for verdict in verdicts if verdict.is_bad}
    if dropping and bad:
        gone = store.edit(lambda lines: [line for line in lines if line not in bad], reject=True)
        notes.print(f"moved to {store.rejected_path}: {gone}")
        verdicts = [verdict for verdict in verdicts if not verdict.is_bad]
    raise_unless_right(verdicts, len(undefined))


@records.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=Path)
@_of_a_store
def merge(files: tuple[Path, ...], target: str, threads: int | None) -> None:
    """Take over the records of other people's FILEs, with the definitions beside them."""
    require_host_packages()
    from edgetvm.stages.build.definitions import register_workloads
    from edgetvm.stages.build.records import full_target
    from edgetvm.stages.host_target import TVM_VERSION

    profile = _profile(target)
    for file in files:
        foreign = read_foreign(file)
        store = RecordStore(
            find_data_folders().tuning_logs / _folder_name(target), threads or foreign.threads
        )
        store.check_provenance(profile.tvm_target, TVM_VERSION)
        foreign.check_origin(store, full_target(profile.tvm_target), TVM_VERSION)
        register_workloads(foreign.workloads)
        count = merge_into(store, foreign, profile.tvm_target, TVM_VERSION)
        results.print(
            f"{file}: {count.new} records are new, {count.known} known; "
            f"{count.better} workloads have a better one now"
        )
        if foreign.provenance is None:
            notes.print(f"{file} has no .meta.json beside it: its machine is not written down")


@records.command()
@_of_a_store
@click.option("--workload", metavar="TEXT", help="What is in its description or its key.")
@click.option("--model", help="Whose workloads, as its bundle lists them.")
@click.option("--bad-lines", is_flag=True, help="Lines that cannot be read.")
def drop(
    target: str, threads: int | None, workload: str | None, model: str | None, bad_lines: bool
) -> None:
    """Move records to the file beside them that ends in .rejected."""
    if sum([workload is not None, model is not None, bad_lines]) != 1:
        raise click.UsageError("Give one of --workload, --model and --bad-lines.")
    store = _find_store(target, threads)
    if bad_lines:
        gone = store.reject_bad_lines() + store.workloads.reject_bad_lines()
    else:
        keys = _keys_like(workload, store) if workload is not None else _keys_of(model, store)
        gone = store.edit(
            lambda lines: [line for line in lines if workload_key_of(line) not in keys],
            reject=True,
        )
    results.print(f"{store.path}: moved to {store.rejected_path.name}: {gone}")


def _keys_like(text: str, store: RecordStore) -> set[str]:
    return {found.key for found in _summaries(store) if text in found.description + found.key}


def _keys_of(model: str | None, store: RecordStore) -> set[str]:
    bundle = find_data_folders().bundles / store.path.parent.name / f"{model}"
    if not bundle.is_dir():
        built = [path.name for path in bundle.parent.glob("*")]
        raise UsageError(
            f"No bundle of {model!r} in {bundle.parent}: {did_you_mean(f'{model}', built)}"
        )
    return {task.workload_key for task in read_manifest(bundle).tasks}


def _summaries(store: RecordStore) -> list[WorkloadSummary]:
    return summarise_workloads(store.read_records(), store.workloads.read())


def _find_store(target: str, threads: int | None) -> RecordStore:
    return find_store(find_data_folders().tuning_logs, _folder_name(target), threads)


def _folder_name(target: str) -> str:
    """Return the folder of a target's records; ``host`` goes by the CPU's name."""
    name = target_of(target)
    return target if name != HOST else target.replace(name, _profile(name).name)


def _profile(target: str) -> "TargetProfile":
    """Return a target's profile; this machine's goes by its CPU's name too."""
    require_host_packages()
    from edgetvm.stages.host_target import detect_host_profile, resolve_target

    host, name = detect_host_profile(), target_of(target)
    if name in (HOST, host.name):
        return host
    return resolve_target(name, find_data_folders().profiles)


if __name__ == "__main__":
    run_command(records)
