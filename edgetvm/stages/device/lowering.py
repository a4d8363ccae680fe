"""Which of TVM's operator libraries the untuned library is lowered with: the fastest on the device.

On ARM, TVM has default schedules of its own (``arm_cpu``) beside those of its plain CPU target,
and which are faster depends on the network and the core.
"""

from edgetvm.errors import CompileError, NumericsError
from edgetvm.stages.build.network_build import NetworkBuild
from edgetvm.stages.device.breakdown import library_medians_s
from edgetvm.stages.device.library import check_on_device
from edgetvm.stages.device.session import Address


def choose_lowering(address: Address, build: NetworkBuild) -> dict[str, str]:
    """Check the untuned library of each lowering on a device, and set the fastest on `build`.

    Return why others were left out, by lowering.

    Raises
    ------
    CompileError, DeviceError, NumericsError
        The plain one cannot be built or run, or is wrong; the others are only left out.
    """
    errors: dict[str, float] = {}
    left_out: dict[str, str] = {}
    plain = build.lowerings[0]
    for lowering in build.lowerings:
        try:
            errors[lowering] = check_on_device(address, build.untuned_library(lowering), build)
        except (CompileError, NumericsError) as err:
            if lowering == plain:
                raise
            left_out[lowering] = str(err)
    if len(errors) > 1:
        libraries = {lowering: build.untuned_library(lowering) for lowering in errors}
        medians_s = library_medians_s(address, build, libraries)
        build.lowering = min(medians_s, key=medians_s.__getitem__)
    build.untuned_error = errors[build.lowering]
    return left_out
