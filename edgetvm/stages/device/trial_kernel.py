"""A small kernel that shows whether libraries run on a device: built, sent, run, timed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import tvm
from tvm import te

from edgetvm.errors import CompileError, DeviceError, NumericsError, one_line
from edgetvm.manifest import LibraryFile
from edgetvm.stages.build.library import link_kernel
from edgetvm.stages.build.linker import describe_library, link_library
from edgetvm.stages.device.session import DeviceSession

SIZE, BLOCK = 1 << 14, 64
RUNS = 10
"""Of which a timing is the mean."""

Result = TypeVar("Result")


class TrialKernel:
    """Computes ``2 * x + 1``, in blocks that threads share, and is checked against numpy.

    Parameters
    ----------
    folder : where its library is built.
    target : a CPU's or a GPU's.
    """

    def __init__(self, folder: Path, target: tvm.target.Target) -> None:
        self._library = folder / f"trial_{target.kind.name}.so"
        self._target = target
        self._module: Any = None

    def build(self, link_triple: str) -> LibraryFile:
        """Build the library, linked as a network's is; a GPU's as a single kernel's.

        Raises
        ------
        CompileError
            No code can be generated for the target, or it cannot be linked.
        """
        data = te.placeholder((SIZE,), name="data")
        result = te.compute((SIZE,), lambda i: data[i] * 2.0 + 1.0, name="result")
        schedule = te.create_schedule(result.op)
        block, inner = schedule[result].split(result.op.axis[0], factor=BLOCK)
        is_gpu = self._target.kind.name == "opencl"
        if is_gpu:
            schedule[result].bind(block, te.thread_axis("blockIdx.x"))
            schedule[result].bind(inner, te.thread_axis("threadIdx.x"))
        else:
            schedule[result].parallel(block)
            schedule[result].vectorize(inner)
        try:
            module = tvm.build(schedule, [data, result], target=self._target)
        except tvm.TVMError as err:
            raise CompileError(
                f"TVM generates no code for {self._target}: {one_line(err)}. Correct tvm_target "
                "in the target's profile."
            ) from err
        if is_gpu:
            link_kernel(module, self._library)
        else:
            objects = self._library.with_suffix(".o")
            module.save(str(objects))
            link_library([objects], self._library, link_triple)
        return describe_library(self._library)

    def upload(self, session: DeviceSession) -> str:
        """Send the library to the device; raises `DeviceError`."""
        self._guard(session, lambda: session.upload(self._library))
        return f"{self._library.name} is there"

    def load(self, session: DeviceSession) -> str:
        """Load the library on the device; raises `DeviceError`."""
        load = session.remote.load_module
        self._module = self._guard(session, lambda: load(self._library.name))
        return "its loader takes it"

    def check(self, session: DeviceSession) -> str:
        """Run the kernel and compare its output with numpy's.

        Raises
        ------
        DeviceError
            The device fails on it, or is lost.
        NumericsError
            It computes something else.
        """
        values = np.random.default_rng(0).standard_normal(SIZE, np.float32)

        def run() -> Any:
            data = tvm.nd.array(values, session.device)
            result = tvm.nd.empty((SIZE,), "float32", session.device)
            self._module(data, result)
            return result.numpy()

        # A fused product and sum rounds once, numpy twice.
        if not np.allclose(self._guard(session, run), values * 2 + 1, rtol=1e-5, atol=1e-6):
            raise NumericsError(
                f"{session.address} computes something else than numpy: is its code made for "
                "another CPU? Give its own --target, and if that is it, report this."
            )
        return f"{SIZE} values are numpy's"

    def time_s(self, session: DeviceSession) -> float:
        """Return the seconds of one run; raises `DeviceError`."""

        def time() -> float:
            arguments = [tvm.nd.empty((SIZE,), "float32", session.device) for _ in range(2)]
            name = self._module.entry_name
            evaluator = self._module.time_evaluator(name, session.device, number=RUNS)
            return float(evaluator(*arguments).mean)

        return self._guard(session, time)

    def _guard(self, session: DeviceSession, call: Callable[[], Result]) -> Result:
        try:
            return call()
        except tvm.TVMError as err:
            session.end()
            raise DeviceError(
                f"{session.address} fails on {self._library.name}: {one_line(err)}. Is its code "
                "made for this device? Look at the server's own output there."
            ) from err
