"""A bundle on a device, timed layer by layer beside what the device could do."""

from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import msgspec

from edgetvm.device_info import DeviceInfo
from edgetvm.errors import DeviceError
from edgetvm.golden import GOLDEN, read_golden
from edgetvm.layer_profile import Layer, LayerProfile
from edgetvm.manifest import TUNED_LIBRARY, Manifest
from edgetvm.measurement import utc_now

if TYPE_CHECKING:
    from edgetvm.stages.device.session import Address

ROUNDS = 15
"""Samples of the whole network."""


def profile_bundle(
    bundle: Path, manifest: Manifest, info: DeviceInfo, address: "Address", threads: int | None
) -> LayerProfile:
    """Time the tuned library, each of its operators, and the probe of the device's ceilings.

    Parameters
    ----------
    address : with the cores to run on.
    threads : None for as many as the bundle was tuned for.

    Raises
    ------
    DeviceError
        The device does not fit the bundle, is emulated, or is lost.
    NumericsError
        The library computes something else than the reference.
    """
    from edgetvm.stages.device.fitting import check_bundle_fits
    from edgetvm.stages.device.library import SESSION_TIMEOUT_S, RemoteLibrary
    from edgetvm.stages.device.operators import time_operators
    from edgetvm.stages.device.roofline import measure_roofline
    from edgetvm.stages.device.session import DeviceSession
    from edgetvm.stages.device.timing import Contender, time_interleaved

    check_bundle_fits(info, manifest, address)
    threads = threads or min(manifest.threads, info.cores)
    address = replace(
        address,
        cores=address.cores or info.cluster_for(manifest.runs_on),
        opencl=manifest.is_for_gpu,
    )
    session = DeviceSession(address, threads, SESSION_TIMEOUT_S)
    device = session.info
    if device.emulated:
        session.end()
        raise DeviceError(
            f"{address} is emulated by {device.emulated}: its times say nothing of a real device, "
            "so profile on one."
        )
    data, golden = read_golden(bundle / GOLDEN)
    library = RemoteLibrary(session, bundle / TUNED_LIBRARY, manifest.input_name)
    library.check(data, golden, manifest.tolerance)
    timed = time_interleaved({"network": Contender.of_library(library)}, ROUNDS)
    session.end()
    # A library that is sent twice would be overwritten while it runs: in a session of its own.
    session = DeviceSession(address, threads, SESSION_TIMEOUT_S)
    operators = time_operators(session, bundle / TUNED_LIBRARY, manifest.input_name, data)
    session.end()
    return LayerProfile(
        model=manifest.model,
        target=manifest.target,
        bundle_id=manifest.bundle_id,
        measured_at=utc_now(),
        device=device,
        threads=threads,
        layers=_match_layers(manifest, operators),
        network_s=median(timed["network"].samples_s),
        roofline=(
            None
            if manifest.is_for_gpu
            else measure_roofline(address, threads, manifest.tvm_target, manifest.vector_unit_bytes)
        ),
    )


def _match_layers(manifest: Manifest, operators: list[tuple[str, float]]) -> tuple[Layer, ...]:
    """Put times beside the manifest's layers; reshapes, which do nothing, have none there."""
    functions = {layer.function for layer in manifest.layers}
    times_s = [seconds for function, seconds in operators if function in functions]
    return tuple(
        Layer(**msgspec.structs.asdict(layer), seconds=seconds)
        for layer, seconds in zip(manifest.layers, times_s, strict=True)
    )
