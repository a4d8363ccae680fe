"""A compiled network on a device: run it, check it against the reference, time it."""

from collections.abc import Callable, Sequence
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

    Parameters
    ----------
    kept_kernels : folder of what GPUs' drivers compiled before, to be added to; None compiles anew.
    name : of the file on the device, where a session has libraries of several bundles.

    Attributes
    ----------
    kernels_s : seconds in which a GPU's driver compiled the kernels, or took those that were kept;
        None on a CPU, and if `kept_kernels` is.
    has_kept_kernels : whether they were.
    first_run_s : seconds of the first inference; 0 before.

    Raises
    ------
    DeviceError
        The device cannot take or load the library; so do all methods when the session is lost.
    """

    def __init__(
        self,
        session: DeviceSession,
        path: Path,
        input_name: str,
        *,
        kept_kernels: Path | None = None,
        name: str | None = None,
    ) -> None:
        self._session = session
        self._name = name or path.name
        self._input_name = input_name
        self.first_run_s = 0.0
        self.kernels_s: float | None = None
        self.has_kept_kernels = False

        def load() -> graph_executor.GraphModule:
            library = session.load_library(path, self._name)
            if kept_kernels is not None and session.info.opencl is not None:
                loaded = session.load_kernels(library, kept_kernels)
                self.kernels_s, self.has_kept_kernels = loaded
            return graph_executor.GraphModule(library["default"](session.device))

        self._module: Any = self._guard(load)

    def run(self, data: Floats) -> tuple[Floats, ...]:
        """Run one inference on `data` and return the outputs."""

        def run() -> tuple[Floats, ...]:
            self._module.set_input(self._input_name, data)
            if not self.first_run_s:
                self.first_run_s = self._session.time_runs(self._module.module, 1)
            else:
                self._module.run()
            count = self._module.get_num_outputs()
            return tuple(self._module.get_output(index).numpy() for index in range(count))

        return self._guard(run)

    def sample_s(self, number: int) -> float:
        """Return the seconds of one inference, as the mean of `number` run back to back.

        The input is the one that :meth:`run` set last. Copies are not in it.
        """

        def sample() -> float:
            if self._session.info.opencl is not None:
                return self._session.time_runs(self._module.module, number)
            evaluator = self._module.module.time_evaluator(
                "run", self._session.cpu, number=number, repeat=1
            )
            return float(evaluator().mean)

        return self._guard(sample)

    def copy_s(self, number: int) -> float:
        """Return the seconds that the input and the outputs take to the device and back."""
        return self._guard(
            lambda: self._session.time_copies(self._module.module, self._input_name, number)
        )

    def check(self, data: Floats, references: Sequence[Floats], tolerance: float) -> float:
        """Run on `data`, compare with `references`, and return the largest relative error.

        Each output is judged by its own magnitude.

        Raises
        ------
        NumericsError
            An output has another shape, or its error is above `tolerance`.
        """
        outputs = self.run(data)
        shapes, expected = ([one.shape for one in some] for some in (outputs, references))
        if shapes != expected:
            raise NumericsError(
                f"{self._name} gives outputs of the shapes {shapes}, the reference "
                f"{expected}: report this with the bundle's manifest."
            )
        error = max(map(relative_error, outputs, references))
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
    threads = min(build.threads, address.most_threads or build.threads)
    session = DeviceSession(address, threads, SESSION_TIMEOUT_S)
    remote = RemoteLibrary(session, library, build.network.input_name)
    accepted = build.network.recipe.accepted_error
    return remote.check(build.golden_input, build.golden_outputs, accepted)
