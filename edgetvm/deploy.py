"""``python -m edgetvm.deploy``: bundles in, checked and timed on the device, beside the papers."""

from typing import Any

import click
import msgspec

from edgetvm import __version__
from edgetvm.bundle_choice import bundles_of, choose_bundles
from edgetvm.cli import (
    ModelName,
    TargetName,
    device_options,
    json_option,
    notes,
    print_json,
    results,
    run_command,
)
from edgetvm.comparison_display import print_comparison
from edgetvm.deployment import Timing, deploy_together
from edgetvm.errors import UsageError
from edgetvm.measurement import Run, write_run
from edgetvm.modelled import ModelledLatency, write_modelled
from edgetvm.modelling import model_bundle
from edgetvm.paper.comparison import compare
from edgetvm.paper.figures import load_papers
from edgetvm.paths import DataFolders, find_data_folders
from edgetvm.profile_display import print_modelled
from edgetvm.target_profile import MODELLED, target_argument


class DeployOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The arguments of one run."""

    models: tuple[str, ...] = ()
    target: str | None = None
    rpc: str | None = None
    token: str | None = None
    threads: int | None = None
    cores: str = ""
    repeat: int = 20
    together: bool = False
    json: bool = False


@click.command(short_help="Run, check and time bundles on a device.")
@click.argument("models", metavar="[MODEL]...", nargs=-1, type=ModelName())
@click.option(
    "--target",
    type=TargetName(),
    help="Target whose bundles to take; without it what fits the device.",
)
@device_options
@click.option(
    "--threads", type=click.IntRange(min=1), help="Without it, as many as it was tuned for."
)
@click.option(
    "--repeat",
    type=click.IntRange(min=2),
    default=20,
    show_default=True,
    help="Samples of each library.",
)
@click.option(
    "--together",
    is_flag=True,
    help="Time all models in turn, in one session: their ratios are free of drift.",
)
@json_option
@click.version_option(__version__)
def deploy(**options: Any) -> None:
    """Run bundles on a device, check their output, time them and compare with the papers.

    Without MODEL every bundle that was built for the device's target is taken. With --rpc modelled
    nothing runs: a cycle model of the target's cores says what each layer will take.

    \b
    Examples:
      python -m edgetvm.deploy
      python -m edgetvm.deploy mobilenet_v2 --target rasp4b --rpc 192.168.1.20
    """
    asked, folders = DeployOptions(**options), find_data_folders()
    if asked.rpc == MODELLED:
        run_modelled(asked, folders)
    else:
        run(asked, folders)


def run(options: DeployOptions, folders: DataFolders) -> list[Run]:
    """Deploy the bundles, write a run beside each, print the comparison and return the runs.

    With `json` the runs are printed in the comparison's place.

    Raises
    ------
    EdgetvmError
        Of every kind; runs of bundles deployed before are kept.
    """
    from edgetvm.stages.device.choice import device_at
    from edgetvm.stages.device.session import describe_device

    runs: list[Run] = []
    timing = Timing(
        threads=options.threads,
        cores=options.cores,
        repeat=options.repeat,
        with_reference=options.rpc is None,
    )
    with device_at(options.rpc, options.token, notes.print) as address:
        info = describe_device(address)
        notes.print(f"device at {address}: {info.processor}, {info.cores} cores, {info.arch}")
        bundles = choose_bundles(
            options.models, options.target, options.rpc, folders.bundles, info, address
        )
        for group in [bundles] if options.together else [[bundle] for bundle in bundles]:
            models = ", ".join(manifest.model for _, manifest in group)
            with notes.status(f"{models}: uploading, checking, timing"):
                deployed = deploy_together(group, info, address, timing)
            for (bundle, _), one in zip(group, deployed, strict=True):
                write_run(one, bundle)
                _print_notes(one)
            runs += deployed
    if options.json:
        print_json(runs)
    else:
        print_comparison(results, compare(runs, load_papers()))
    return runs


def run_modelled(options: DeployOptions, folders: DataFolders) -> list[ModelledLatency]:
    """Estimate the bundles layer by layer, write an estimate beside each, print and return them.

    Raises
    ------
    UsageError
        No target is given, nothing was built for it, or something that only a device has was asked.
    CompileError
        A bundle's code cannot be analysed.
    """
    from edgetvm.stages.host_target import resolve_target

    if options.target is None:
        raise UsageError(f"--rpc {MODELLED} is no device that tells what it is: give --target.")
    if options.token is not None or options.together:
        raise UsageError(f"--rpc {MODELLED} is no device: leave out --token and --together.")
    bundles = bundles_of(options.models, options.target, folders.bundles)
    found = []
    for bundle, manifest in bundles:
        profile = resolve_target(
            target_argument(manifest.target, folders.profiles), folders.profiles
        ).on_cores(options.cores or manifest.runs_on)
        with notes.status(f"{manifest.model}: estimating each layer"):
            modelled = model_bundle(bundle, manifest, profile, options.threads)
        write_modelled(modelled, bundle)
        found.append(modelled)
        if not options.json:
            print_modelled(results, modelled)
    if options.json:
        print_json(found)
    return found


def _print_notes(run: Run) -> None:
    """Say what a run is worth."""
    notes.print(f"{run.model}: relative error {run.relative_error:.1e}")
    if emulator := run.device.emulated:
        notes.print(f"{run.model}: emulated by {emulator}, so no time is given")
        return
    notes.print(f"{run.model}: {run.verdict}; timed at {run.after}")
    if not run.tuning_paid:
        notes.print(f"{run.model}: tuned is slower than untuned here; tune it longer")


if __name__ == "__main__":
    run_command(deploy)
