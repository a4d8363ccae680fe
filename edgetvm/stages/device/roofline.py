"""A device's ceilings, measured: fp32 operations a second, and bytes a second by footprint.

Williams, Waterman and Patterson, "Roofline", 2009, with a ceiling for each cache as Ilic, Pratas
and Sousa have it ("Cache-aware Roofline model", 2014): a small network's activations are still
in a cache when the next operator reads them, and no operator may beat its ceiling.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm import te, tir

from edgetvm.errors import DeviceError, one_line
from edgetvm.layer_profile import Ceiling, MemoryCeiling, Roofline
from edgetvm.measurement import Measurement
from edgetvm.stages.build.library import link_kernel
from edgetvm.stages.device.session import Address, DeviceSession

SESSION_TIMEOUT_S = 300.0
REPEATS = 15
MIN_SAMPLE_S = 0.005
"""Shortest time over which one sample is averaged."""

CHAINS = 12
"""Independent chains of operations: they fill all pipes, and with two constants no more than the
16 vector registers of AVX2."""

LINKS = 100_000
"""Length of each chain."""

FOOTPRINTS_BYTES = tuple(2**power for power in (14, 17, 20, 23))
"""Of one thread: in the first cache of every core, in the second of many, in none of a board's."""

PASSED_BYTES = 2**23
"""Bytes that a thread passes through at least in one run, over and over in smaller arrays."""


@dataclass(frozen=True)
class Probe:
    """A kernel that does nothing but use one resource.

    Attributes
    ----------
    lanes : floats of a vector.
    work : operations or bytes of one run, of all threads.
    tensors : inputs first, then the output; vectors of float32.
    """

    lanes: int
    work: int
    tensors: tuple[te.Tensor, ...]

    def arguments(self) -> list[NDArray[np.float32]]:
        """Return values that neither grow nor become denormal, with lanes as the last dimension."""
        shapes = [(*map(int, tensor.shape), self.lanes) for tensor in self.tensors]
        return [np.full(shape, 0.5, np.float32) for shape in shapes]


def operations_probe(threads: int, lanes: int, links: int = LINKS) -> Probe:
    """Multiply and add in registers: at each link a chain's value becomes ``a * value + b``.

    Its input are the values to begin with, then ``a`` and ``b``; its output are all threads'
    values.
    """
    kind = f"float32x{lanes}"

    def body(builder: Any, source: Any, output: Any) -> None:
        with builder.for_range(0, threads, kind="parallel") as thread:
            values = builder.allocate(kind, (CHAINS,), scope="local")
            for chain in range(CHAINS):
                values[chain] = source[chain]
            with builder.for_range(0, links):
                for chain in range(CHAINS):
                    values[chain] = values[chain] * source[CHAINS] + source[CHAINS + 1]
            for chain in range(CHAINS):
                output[thread * CHAINS + chain] = values[chain]

    tensors = _kernel(kind, [CHAINS + 2], threads * CHAINS, body)
    return Probe(lanes, 2 * threads * links * CHAINS * lanes, tensors)


def reading_probe(threads: int, lanes: int, footprint_bytes: int) -> Probe:
    """Add up an array of each thread's own, over and over."""
    kind = f"float32x{lanes}"
    rows = footprint_bytes // (4 * lanes * CHAINS)
    passes = max(1, PASSED_BYTES // footprint_bytes)

    def body(builder: Any, source: Any, output: Any) -> None:
        with builder.for_range(0, threads, kind="parallel") as thread:
            sums = builder.allocate(kind, (CHAINS,), scope="local")
            for chain in range(CHAINS):
                sums[chain] = tir.Broadcast(tir.const(0, "float32"), lanes)
            with builder.for_range(0, passes), builder.for_range(0, rows) as row:
                for chain in range(CHAINS):
                    sums[chain] += source[(thread * rows + row) * CHAINS + chain]
            for chain in range(CHAINS):
                output[thread * CHAINS + chain] = sums[chain]

    tensors = _kernel(kind, [threads * rows * CHAINS], threads * CHAINS, body)
    return Probe(lanes, 4 * lanes * threads * passes * rows * CHAINS, tensors)


def triad_probe(threads: int, lanes: int, footprint_bytes: int) -> Probe:
    """Compute ``x + x * y`` over arrays of each thread's own, over and over, as STREAM's triad."""
    kind = f"float32x{lanes}"
    rows = footprint_bytes // (3 * 4 * lanes)
    passes = max(1, PASSED_BYTES // footprint_bytes)

    def body(builder: Any, first: Any, second: Any, output: Any) -> None:
        parallel = builder.for_range(0, threads, kind="parallel")
        with parallel as thread, builder.for_range(0, passes), builder.for_range(0, rows) as row:
            at = thread * rows + row
            output[at] = first[at] + first[at] * second[at]

    tensors = _kernel(kind, [threads * rows] * 2, threads * rows, body)
    return Probe(lanes, 3 * 4 * lanes * threads * passes * rows, tensors)


def _kernel(
    kind: str, inputs: list[int], output: int, body: Callable[..., None]
) -> tuple[te.Tensor, ...]:
    placeholders = [te.placeholder((size,), dtype=kind) for size in inputs]

    def build(ins: list[tir.Buffer], outs: list[tir.Buffer]) -> tir.Stmt:
        builder = tir.ir_builder.create()
        body(builder, *(builder.buffer_ptr(buffer) for buffer in (*ins, *outs)))
        return builder.get()

    return (*placeholders, te.extern([(output,)], placeholders, build, dtype=kind))


def build_probe(probe: Probe, tvm_target: str, library: Path) -> None:
    """Build a probe into a shared library; raises `CompileError`."""
    schedule = te.create_schedule(probe.tensors[-1].op)
    link_kernel(tvm.build(schedule, list(probe.tensors), tvm.target.Target(tvm_target)), library)


def measure_roofline(
    address: Address, threads: int, tvm_target: str, vector_bytes: int
) -> Roofline:
    """Measure the ceilings of the device at `address`, on `threads` threads; it takes seconds.

    Parameters
    ----------
    vector_bytes : of a vector register.

    Raises
    ------
    CompileError
        A probe cannot be built for the target.
    DeviceError
        The device is lost.
    """
    lanes = vector_bytes // 4
    session = DeviceSession(address, threads, SESSION_TIMEOUT_S)
    with tempfile.TemporaryDirectory() as folder:

        def measure(probe: Probe, name: str) -> Ceiling:
            library = Path(folder) / f"{name}.so"
            build_probe(probe, tvm_target, library)
            return _run(session, probe, library)

        memory = []
        for size in FOOTPRINTS_BYTES:
            ceilings = [
                measure(reading_probe(threads, lanes, size), f"read_{size}"),
                measure(triad_probe(threads, lanes, size), f"triad_{size}"),
            ]
            best = max(ceilings, key=lambda one: one.value)
            memory.append(
                MemoryCeiling(
                    value=best.value,
                    low=best.low,
                    high=best.high,
                    footprint_bytes=threads * size,
                )
            )
        return Roofline(
            flop_per_s=measure(operations_probe(threads, lanes), "operations"),
            one_thread_flop_per_s=measure(operations_probe(1, lanes), "one_thread"),
            bytes_per_s=tuple(memory),
        )


def _run(session: DeviceSession, probe: Probe, library: Path) -> Ceiling:
    """Run a probe and return what it did a second."""
    try:
        module = session.load_library(library)
        arguments = [
            tvm.nd.empty(values.shape[:-1], f"float32x{probe.lanes}", session.cpu).copyfrom(values)
            for values in probe.arguments()
        ]
        first = module.time_evaluator(module.entry_name, session.cpu, number=2)(*arguments).mean
        timer = module.time_evaluator(
            module.entry_name,
            session.cpu,
            number=max(1, round(MIN_SAMPLE_S / first)),
            repeat=REPEATS,
        )
        samples_s = tuple(float(value) for value in timer(*arguments).results)
    except tvm.TVMError as err:
        session.end()
        raise DeviceError(
            f"{session.address} cannot run the probe {library.stem}: {one_line(err)}. Look at the "
            "server's own output there, and try again."
        ) from err
    timed = Measurement(samples_s=samples_s, number=1, threads=session.threads, runtime="TVM")
    fast_s, slow_s = timed.interval_s()
    return Ceiling(
        value=probe.work / timed.median_s, low=probe.work / slow_s, high=probe.work / fast_s
    )
