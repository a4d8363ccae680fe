"""``python -m edgetvm.doctor``: what works on this machine, and on the way to a device."""

import platform
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import click
import msgspec
from rich.text import Text

from edgetvm import __version__
from edgetvm.checks import Check, Status, follow, look
from edgetvm.cli import TargetName, json_option, notes, print_json, results, run_command
from edgetvm.device_state import DeviceState
from edgetvm.errors import EdgetvmError
from edgetvm.host_checks import (
    HOST_EXTRA,
    can_compile,
    check_clocks,
    check_cores,
    check_cpu,
    check_disk,
    check_load,
    check_packages,
    check_python,
)
from edgetvm.opencl_device import OPENCL_CPU
from edgetvm.paths import DataFolders, find_data_folders
from edgetvm.stages.build.toolchain import find_tvm
from edgetvm.target_profile import HOST, TargetProfile, load_target_profile

STYLES: dict[Status, str] = {
    "ok": "green",
    "note": "cyan",
    "warning": "yellow",
    "wrong": "bold red",
    "not tried": "dim",
}


class DoctorOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The arguments of one run."""

    rpc: str | None = None
    token: str | None = None
    target: str | None = None
    json: bool = False


@click.command(short_help="Check this machine and the way to a device.")
@click.option(
    "--rpc",
    metavar="HOST[:PORT]",
    help="Device, or emulated, or opencl-cpu; without it this machine.",
)
@click.option("--token", help="Token that the device's server printed; it is kept.")
@click.option("--target", type=TargetName(), help="Target to build for; without it one that fits.")
@json_option
@click.version_option(__version__)
def doctor(**options: Any) -> None:
    """Check this machine, and hop by hop the way to a device; say what is there and what to do.

    Each line is ok, a note on what not every installation needs, a warning where results would be
    worth less, or wrong, and then what to do. What lies behind a wrong hop is not tried.

    \b
    Examples:
      python -m edgetvm.doctor
      python -m edgetvm.doctor --rpc 192.168.1.20 --target rasp4b
    """
    asked = DoctorOptions(**options)
    checks = []
    with ExitStack() as stack:
        for check in examine(asked, find_data_folders(), stack):
            checks.append(check)
            if not asked.json:
                results.print(_line(check), soft_wrap=True)
    if asked.json:
        print_json(checks)
    _raise_if_wrong(checks)


def examine(options: DoctorOptions, folders: DataFolders, stack: ExitStack) -> Iterator[Check]:
    """Check this machine, then the way to the device.

    Parameters
    ----------
    stack : closes what was opened on the way.

    Raises
    ------
    UsageError
        There is no such target.
    """
    is_named = options.target not in (None, HOST)
    profile = load_target_profile(f"{options.target}", folders.profiles) if is_named else None
    with_gpu = options.rpc == OPENCL_CPU or (profile is not None and profile.gpu is not None)
    yield check_python()
    yield check_packages()
    yield check_packages(HOST_EXTRA)
    yield (tvm := look("TVM", find_tvm))
    yield from _toolchain(profile, tvm, with_gpu=with_gpu)
    yield from check_disk(folders)
    yield check_cpu()
    yield check_cores()
    state = DeviceState.read()
    yield check_clocks(state)
    yield check_load(state)
    if tvm.status == "wrong":
        yield Check(name="device", status="not tried")
        return
    from edgetvm.stages.device.hops import DeviceHops

    hops = DeviceHops(
        options.rpc, options.token, options.target, folders.profiles, stack, notes.print
    )
    yield from follow(hops.in_order(with_gpu=with_gpu))


def _toolchain(profile: TargetProfile | None, tvm: Check, *, with_gpu: bool) -> Iterator[Check]:
    """Check what compiling for the target needs; a board does without."""
    if not can_compile():
        return
    from edgetvm.stages.build.linker import own_link_triple
    from edgetvm.stages.build.toolchain import find_llvm, try_linker, try_xgboost

    arch = profile.arch if profile else platform.machine()
    triple = profile.link_triple if profile else own_link_triple()
    if tvm.status == "wrong":
        yield Check(name="LLVM", status="not tried")
    else:
        yield look("LLVM", lambda: find_llvm(arch))
    yield look("linker", lambda: try_linker(triple, arch))
    yield look("xgboost", try_xgboost)
    if tvm.status != "wrong":
        is_gpu = profile is not None and profile.gpu is not None
        yield _cross_compiler(arch if is_gpu else "aarch64", needed=with_gpu)


def _cross_compiler(arch: str, *, needed: bool) -> Check:
    """Look for the compiler of TVM's OpenCL runtime, which only boards with a GPU ask for."""
    from edgetvm.stages.build.opencl_runtime import find_compiler

    check = look("OpenCL compiler", lambda: find_compiler(arch))
    if check.status == "ok":
        return check
    return msgspec.structs.replace(check, status="warning" if needed else "note", exit_code=0)


def _line(check: Check) -> Text:
    parts = (f"{check.status:<11}", STYLES[check.status]), f"{check.name:<22}", f"{check}"
    return Text.assemble(*parts)


def _raise_if_wrong(checks: Sequence[Check]) -> None:
    wrong = [check for check in checks if check.status == "wrong"]
    if wrong:
        names = ", ".join(check.name for check in wrong)
        error = EdgetvmError(f"Not right: {names}. Do what the lines say, and run doctor again.")
        error.exit_code = wrong[0].exit_code
        raise error


if __name__ == "__main__":
    run_command(doctor)
