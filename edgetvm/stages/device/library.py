"""A compiled network on a device: run it, check it against the reference, time it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm.contrib import graph_executor

from edgetvm.errors import DeviceError, NumericsError, one_line
from edgetvm.measurement import relative_error
from edgetvm.stages.build.network_build import NetworkBuild
from edgetvm.stages.device.session import Address, DeviceSession

SESSION_TIMEOUT_S = 600.0
"""A session that deploys or checks a library is ended by the server after this long."""

Floats = NDArray[np.float32]
Result = TypeVar("Result")


class RemoteLibrary:
    """A network's shared library, loaded on the device of `session`.

    Raises
    ------
    DeviceError
        The device cannot take or load the library; so do all methods when the session is lost.
    """

    def __init__(self, session: DeviceSession, path: Path, input_name: str) -> None:
        self._session = session
        self._name = path.name
        self._input_name = input_name
        self._module: Any = self._guard(
            lambda: graph_executor.GraphModule(session.load_library(path)["default"](session.cpu))
        )

    def run(self, data: Floats) -> Floats:
        """Run one inference on `data` (N, C, H, W) and return the output."""

        def run() -> Floats:
            self._module.set_input(self._input_name, data)
            self._module.run()
            output: Floats = self._module.get_output(0).numpy()
            return output

        return self._guard(run)

    def sample_s(self, number: int) -> float:
        """Return the seconds of one inference, as the mean of `number` run back to back.

        The input is the one that :meth:`run` set last. Copies are not in it.
        """

        def sample() -> float:
            evaluator = self._module.module.time_evaluator(
                "run", self._session.cpu, number=number, repeat=1
            )
            return float(evaluator().mean)

        return self._guard(sample)

    def check(self, data: Floats, reference: Floats, tolerance: float) -> float:
        """Run on `data`, compare with `reference`, and return the relative error.

        Raises
        ------
        NumericsError
            The output has another shape, or its error is above `tolerance`.
        """
        output = self.run(data)
        if output.shape != reference.shape:
            raise NumericsError(
                f"{self._name} gives an output of shape {output.shape}, the reference "
                f"{reference.shape}: report this with the bundle's manifest."
            )
        error = relative_error(output, reference)
        if not error <= tolerance:
            raise NumericsError(
                f"{self._name} differs from the reference by {error:.1e} (relative; allowed are "
                f"{tolerance:.0e}). It was not handed out. Move the target's tuning records away "
                "and tune again; if it stays wrong untuned, report it."
            )
        return error

    def _guard(self, call: Callable[[], Result]) -> Result:
        try:
            return call()
        except tvm.TVMError as err:
            raise DeviceError(
                f"{self._session.address} failed on {self._name}: {one_line(err)}. Look at the "
                "server's own output there, and try again."
            ) from err


def check_on_device(address: Address, library: Path, build: NetworkBuild) -> float:
    """Run a library just built on the device at `address` and return its relative error.

    Raises
    ------
    DeviceError, NumericsError
        As :class:`RemoteLibrary` and :meth:`RemoteLibrary.check`.
    """
    session = DeviceSession(address, build.threads, SESSION_TIMEOUT_S)
    remote = RemoteLibrary(session, library, build.network.input_name)
    return remote.check(build.golden_input, build.golden_output, build.network.recipe.tolerance)
