"""``python -m edgetvm.profile``: where a network's time goes, layer by layer."""

from dataclasses import replace
from typing import Any

import click
import msgspec

from edgetvm import __version__
from edgetvm.bundle_choice import choose_bundles
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
from edgetvm.layer_profile import LayerProfile, write_profile
from edgetvm.paths import DataFolders, find_data_folders
from edgetvm.profile_display import print_profile
from edgetvm.profiling import profile_bundle


class ProfileOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The arguments of one run."""

    model: str
    target: str | None = None
    rpc: str | None = None
    token: str | None = None
    threads: int | None = None
    cores: str = ""
    json: bool = False


@click.command(short_help="Time each layer of a network on a device.")
@click.argument("model", type=ModelName())
@click.option(
    "--target",
    type=TargetName(),
    help="Target whose bundle to take; without it what fits the device.",
)
@device_options
@click.option(
    "--threads", type=click.IntRange(min=1), help="Without it, as many as it was tuned for."
)
@json_option
@click.version_option(__version__)
def profile(**options: Any) -> None:
    """Time each layer of MODEL's bundle on a device, beside what the device could do at best.

    The device's ceilings, operations and bytes a second, are measured by a small probe in the same
    run. A layer's share of them says what better schedules could still gain.

    \b
    Examples:
      python -m edgetvm.profile mobilenet_v2
      python -m edgetvm.profile mobilenet_v2 --target rasp4b --rpc 192.168.1.20
    """
    asked = ProfileOptions(**options)
    found = run(asked, find_data_folders())
    if asked.json:
        print_json(found)
    else:
        print_profile(results, found)


def run(options: ProfileOptions, folders: DataFolders) -> LayerProfile:
    """Profile the bundle, write the profile beside it, and return it.

    Raises
    ------
    EdgetvmError
        As :func:`edgetvm.profiling.profile_bundle`, or there is no such bundle.
    """
    from edgetvm.stages.device.choice import device_at
    from edgetvm.stages.device.session import describe_device

    with device_at(options.rpc, options.token, notes.print) as address:
        info = describe_device(address)
        ((bundle, manifest),) = choose_bundles(
            (options.model,), options.target, options.rpc, folders.bundles, info, address
        )
        on_cores = replace(address, cores=options.cores)
        with notes.status(f"{manifest.model}: timing each layer, and the device's ceilings"):
            found = profile_bundle(bundle, manifest, info, on_cores, options.threads)
    write_profile(found, bundle)
    return found


if __name__ == "__main__":
    run_command(profile)
