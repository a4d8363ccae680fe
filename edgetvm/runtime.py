"""``python -m edgetvm.runtime``: the parts of TVM's runtime that no published package has."""

import click

from edgetvm import __version__
from edgetvm.cli import TargetName, json_option, notes, print_json, results, run_command
from edgetvm.errors import UsageError
from edgetvm.opencl_device import find_opencl, opencl_devices
from edgetvm.paths import find_data_folders
from edgetvm.target_profile import HOST, load_target_profile


@click.group(no_args_is_help=False)
@click.version_option(__version__)
def runtime() -> None:
    """Build the parts of TVM's runtime that no published package has.

    \b
    Examples:
      python -m edgetvm.runtime build --opencl
      python -m edgetvm.runtime build --opencl --for rk3399
      python -m edgetvm.runtime devices
    """


@runtime.command()
@click.option("--opencl", is_flag=True, required=True, help="The OpenCL runtime, for GPUs.")
@click.option(
    "--for",
    "target",
    type=TargetName(),
    default=HOST,
    show_default=True,
    help="Target that it is to run on.",
)
@json_option
def build(opencl: bool, target: str, json: bool) -> None:  # noqa: ARG001 - --opencl is all there is
    """Compile a part of the runtime, once for each TVM and compiler, and say where it is.

    Commands that need it for a board build it themselves and send it there; build it on the board
    if the board's system is older than this machine's.
    """
    import platform

    from edgetvm.stages.build.opencl_runtime import build_opencl_runtime

    arch = platform.machine()
    if target != HOST:
        arch = load_target_profile(target, find_data_folders().profiles).arch
    with notes.status(f"compiling for {arch}"):
        plugin = build_opencl_runtime(arch)
    size_bytes = plugin.stat().st_size
    if json:
        print_json({"path": str(plugin), "arch": arch, "size_bytes": size_bytes})
    else:
        results.print(f"{plugin}: {size_bytes / 1024:.0f} KiB")


@runtime.command()
@json_option
def devices(json: bool) -> None:
    """List this machine's OpenCL devices, as commands would find them."""
    library = find_opencl()
    if library is None:
        raise UsageError(
            "No OpenCL library was found: install the GPU's driver, or for OpenCL on the CPU "
            "Debian's package pocl-opencl-icd or the Python packages intel-opencl-rt and "
            "intel-cmplr-lib-rt."
        )
    found = opencl_devices(library)
    if not found:
        raise UsageError(f"{library} knows no device: is its driver installed and allowed?")
    if json:
        print_json(found)
        return
    for device in found:
        results.print(
            f"{device.name} ({device.platform}, {device.version}): {device.compute_units} units, "
            f"work-groups of {device.max_threads} threads, {device.local_memory_bytes // 1024} KiB "
            f"of local memory{', fp16' if 'cl_khr_fp16' in device.extensions else ''}"
        )


if __name__ == "__main__":
    run_command(runtime)
