"""Runs a bundle with Python alone: loads its library, checks it by the golden data, times it.

    python3 runner/runner.py BUNDLE [--untuned] [--threads N] [--repeat N]

Prints one line of JSON, its keys as in edgetvm's runs. Exit codes: 2 wrong arguments or a faulty
bundle, 3 the runtime failed, 5 the output is wrong. Nothing has to be installed: TVM's runtime lies
beside this file, with its part for OpenCL if the bundle is a GPU's, and is called through its C
interface, as runner.c does. EDGETVM_LIBOPENCL names the GPU driver's library where it is not called
libOpenCL.so.
"""

import argparse
import ast
import ctypes
import json
import math
import os
import sys
import time
from array import array
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

USAGE, DEVICE, NUMERICS = 2, 3, 5
MIN_SAMPLE_S = 0.02
"""Shortest time over which one sample is averaged."""

_CPU, _OPENCL, _FLOAT, _FLOAT_BITS = 1, 4, 2, 32
_INT_CODE, _DEVICE_CODE, _TENSOR_CODE, _MODULE_CODE, _TEXT_CODE = 0, 6, 7, 9, 11
"""TVM's numbers for devices, types of numbers and kinds of arguments."""


class Runtime:
    """TVM's runtime through ``c_runtime_api.h``; each call ends the program if it fails.

    Attributes
    ----------
    device : that networks run on, TVM's number of its kind.
    """

    def __init__(self, folder: Path, *, on_gpu: bool) -> None:
        self.device = _OPENCL if on_gpu else _CPU
        try:
            self._library = ctypes.CDLL(str(folder / "libtvm_runtime.so"), ctypes.RTLD_GLOBAL)
            if on_gpu:
                ctypes.CDLL(str(folder / "opencl.so"), ctypes.RTLD_GLOBAL)
        except OSError as err:
            fail(DEVICE, f"TVM's runtime cannot be loaded: {err}")
        self._library.TVMGetLastError.restype = ctypes.c_char_p

    def do(self, function: str, *arguments: Any) -> None:
        """Call a function of the runtime itself."""
        if getattr(self._library, function)(*arguments):
            reason = self._library.TVMGetLastError().decode(errors="replace")
            fail(DEVICE, f"{function} failed: {reason}")

    def load(self, path: Path) -> ctypes.c_void_p:
        """Load a library."""
        module = ctypes.c_void_p()
        self.do("TVMModLoadFromFile", str(path).encode(), b"so", ctypes.byref(module))
        return module

    def function(self, module: ctypes.c_void_p, name: str) -> ctypes.c_void_p:
        """Find a function of a module."""
        found = ctypes.c_void_p()
        self.do("TVMModGetFunction", module, name.encode(), 0, ctypes.byref(found))
        if not found:
            fail(DEVICE, f"the library has no function {name}.")
        return found

    def keep_kernels(self, library: ctypes.c_void_p, folder: Path) -> None:
        """Take a GPU's kernels as they were compiled before, or compile and keep them."""
        with suppress(OSError):  # of a bundle that cannot be written to
            folder.mkdir(exist_ok=True)
        keep = ctypes.c_void_p()
        self.do("TVMFuncGetGlobal", b"edgetvm.keep_kernels", ctypes.byref(keep))
        path = ctypes.create_string_buffer(os.fsencode(folder))
        assert library.value is not None
        self.call(keep, (library.value, _MODULE_CODE), (ctypes.addressof(path), _TEXT_CODE))

    def call(self, function: ctypes.c_void_p, *arguments: tuple[int, int]) -> int:
        """Call a module's function with pairs of value and kind; all values fit 64 bits."""
        count = len(arguments)
        values = (ctypes.c_int64 * max(1, count))(*(value for value, _ in arguments))
        kinds = (ctypes.c_int * max(1, count))(*(kind for _, kind in arguments))
        result, kind = ctypes.c_int64(), ctypes.c_int()
        self.do(
            "TVMFuncCall", function, values, kinds, count, ctypes.byref(result), ctypes.byref(kind)
        )
        return result.value

    def new_tensor(self, shape: tuple[int, ...]) -> ctypes.c_void_p:
        """Allocate float32 in the CPU's memory."""
        extents = (ctypes.c_int64 * len(shape))(*shape)
        tensor = ctypes.c_void_p()
        kind = (_FLOAT, _FLOAT_BITS, 1, _CPU, 0)
        self.do("TVMArrayAlloc", extents, len(shape), *kind, ctypes.byref(tensor))
        return tensor

    def wait(self) -> None:
        """Wait until the device has done all that it was told."""
        self.do("TVMSynchronize", self.device, 0, None)

    def copy(self, function: str, tensor: ctypes.c_void_p, values: "array[float]") -> None:
        """Copy from or to a tensor, as `function` says."""
        address, count = values.buffer_info()
        size = ctypes.c_size_t(count * values.itemsize)
        self.do(function, tensor, ctypes.c_void_p(address), size)


@dataclass(frozen=True)
class Tensor:
    """An array of float32 in C order."""

    shape: tuple[int, ...]
    values: "array[float]"


def fail(code: int, message: str) -> NoReturn:
    """End with one sentence."""
    print(f"error: {message}", file=sys.stderr)  # noqa: T201
    sys.exit(code)


def read_npy(path: Path) -> Tensor:
    """Read NumPy's format, version 1, of little-endian float32 in C order."""
    content = path.read_bytes() if path.is_file() else b""
    if content[:7] != b"\x93NUMPY\x01":
        fail(USAGE, f"{path} is no array of NumPy's first format.")
    start = 10 + int.from_bytes(content[8:10], "little")
    header = ast.literal_eval(content[10:start].decode("latin-1"))
    if header["descr"] != "<f4" or header["fortran_order"]:
        fail(USAGE, f"{path} holds no float32.")
    values = array("f")
    if len(content) - start != values.itemsize * math.prod(header["shape"]):
        fail(USAGE, f"{path} is cut off.")
    values.frombytes(content[start:])
    return Tensor(header["shape"], values)


def relative_error(output: "array[float]", reference: "array[float]") -> float:
    """Return the largest difference, relative to the reference's largest magnitude."""
    differences = [abs(a - b) for a, b in zip(output, reference, strict=True)]
    scale = max(map(abs, reference))
    if not all(map(math.isfinite, differences)) or not scale:
        return math.inf
    return max(differences) / scale


def run(bundle: Path, library: str, threads: int, repeat: int) -> None:
    """Check and time a library of the bundle, and print the result."""
    try:
        manifest = json.loads((bundle / "manifest.json").read_text())
        tolerance, threads = float(manifest["tolerance"]), threads or int(manifest["threads"])
        on_gpu = manifest["tvm_target"].startswith("opencl")
    except (OSError, ValueError, KeyError) as err:
        fail(USAGE, f"{bundle / 'manifest.json'} cannot be read ({err}): give a bundle's folder.")
    os.environ["TVM_NUM_THREADS"] = str(threads)
    runtime = Runtime(Path(__file__).resolve().parent, on_gpu=on_gpu)
    module = runtime.load(bundle / library)
    started_s = time.perf_counter()
    if on_gpu:
        runtime.keep_kernels(module, bundle / "kernels")
    kernels_s = time.perf_counter() - started_s
    create = runtime.function(module, "default")
    executor = ctypes.c_void_p(runtime.call(create, (runtime.device, _DEVICE_CODE)))
    data = read_npy(bundle / "golden" / "input.npy")
    tensor = runtime.new_tensor(data.shape)
    runtime.copy("TVMArrayCopyFromBytes", tensor, data.values)
    assert tensor.value is not None
    set_input = runtime.function(executor, "set_input")
    runtime.call(set_input, (0, _INT_CODE), (tensor.value, _TENSOR_CODE))
    infer = runtime.function(executor, "run")

    def sample_s(number: int) -> float:
        started_s = time.perf_counter()
        for _ in range(number):
            runtime.call(infer)
        runtime.wait()
        return (time.perf_counter() - started_s) / number

    first_s = sample_s(1)
    error = check_outputs(runtime, executor, bundle)
    number = max(1, round(MIN_SAMPLE_S / sample_s(1)))
    result = {
        "relative_error": error if math.isfinite(error) else None,
        "kernels_s": kernels_s if on_gpu else None,
        "first_run_s": first_s,
        "number": number,
        "threads": threads,
        "runtime": f"TVM {manifest['tvm_version']}",
        "samples_s": [sample_s(number) for _ in range(repeat)],
    }
    print(json.dumps(result))  # noqa: T201
    if not error <= tolerance:
        fail(
            NUMERICS,
            f"the output differs from the reference by {error:.1e} (relative; allowed are "
            f"{tolerance:.0e}).",
        )


def check_outputs(runtime: Runtime, executor: ctypes.c_void_p, bundle: Path) -> float:
    """Return the largest relative error of all outputs."""
    get_output = runtime.function(executor, "get_output")
    errors = []
    for place in range(runtime.call(runtime.function(executor, "get_num_outputs"))):
        golden = read_npy(bundle / "golden" / f"output_{place}.npy")
        tensor = runtime.new_tensor(golden.shape)
        assert tensor.value is not None
        runtime.call(get_output, (place, _INT_CODE), (tensor.value, _TENSOR_CODE))
        output = array("f", bytes(golden.values.itemsize * len(golden.values)))
        runtime.copy("TVMArrayCopyToBytes", tensor, output)
        errors.append(relative_error(output, golden.values))
    return max(errors)


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", type=Path, help="folder of a bundle")
    parser.add_argument("--untuned", action="store_true", help="take TVM's default schedules")
    parser.add_argument("--threads", type=int, default=0, help="default: as the bundle was tuned")
    parser.add_argument("--repeat", type=int, default=20, help="samples to take")
    options = parser.parse_args()
    library = "untuned.so" if options.untuned else "library.so"
    run(options.bundle, library, options.threads, options.repeat)


if __name__ == "__main__":
    main()
