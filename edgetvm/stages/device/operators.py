"""The time of each operator within a network, from TVM's debugging executor."""

import json
from pathlib import Path
from statistics import median

import numpy as np
import tvm
from numpy.typing import NDArray

from edgetvm.errors import DeviceError, one_line
from edgetvm.stages.device.session import DeviceSession

PROFILES = 7
"""Runs of which each operator's median is taken."""


def time_operators(
    session: DeviceSession, library: Path, input_name: str, data: NDArray[np.float32]
) -> list[tuple[str, float]]:
    """Return the name and the median seconds of each operator of `library`, in order.

    Raises
    ------
    DeviceError
        The device fails on it, or is lost.
    """
    try:
        executor = session.load_library(library)["debug_create"]("default", session.device)
        executor["set_input"](input_name, tvm.nd.array(data, session.cpu))
        profile = executor["profile_rpc"]
        profile()
        runs = [json.loads(profile())["calls"] for _ in range(PROFILES)]
    except tvm.TVMError as err:
        raise DeviceError(
            f"{session.address} cannot time single operators: {one_line(err)}. Look at the "
            "server's own output there, and try again."
        ) from err
    return [
        (
            calls[0]["Name"]["string"],
            median(call["Duration (us)"]["microseconds"] for call in calls) / 1e6,
        )
        for calls in zip(*runs, strict=True)
    ]
