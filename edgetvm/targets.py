"""``python -m edgetvm.targets``: the boards and CPUs that networks can be built for."""

import click
import msgspec

from edgetvm import __version__
from edgetvm.cli import TargetName, json_option, print_json, results, run_command
from edgetvm.paths import find_data_folders
from edgetvm.target_profile import HOST, TargetProfile, list_target_profiles, load_target_profile
from edgetvm.targets_display import print_target, print_targets


@click.command(short_help="List the targets, or show one with its sources.")
@click.argument("name", required=False, type=TargetName())
@json_option
@click.version_option(__version__)
def targets(name: str | None, json: bool) -> None:
    """List the targets, or show the profile of one, with the sources of its numbers.

    The target host is this machine's CPU and has no file; name it to see what was found.

    \b
    Examples:
      python -m edgetvm.targets
      python -m edgetvm.targets rk3399 --json
    """
    folder = find_data_folders().profiles
    if name is None:
        profiles = [load_target_profile(one, folder) for one in list_target_profiles(folder)]
        print_json(list(map(_as_row, profiles))) if json else print_targets(results, profiles)
        return
    profile = _detect_host() if name == HOST else load_target_profile(name, folder)
    print_json(_as_row(profile)) if json else print_target(results, profile)


def _as_row(profile: TargetProfile) -> dict[str, object]:
    return {**msgspec.to_builtins(profile), "peak_flop_per_s": profile.peak_flop_per_s}


def _detect_host() -> TargetProfile:
    from edgetvm.stages.host_target import detect_host_profile

    return detect_host_profile()


if __name__ == "__main__":
    run_command(targets)
