"""Planted data that several tests share."""

from edgetvm.device_info import DeviceInfo
from edgetvm.device_state import DeviceState
from edgetvm.host_cpu import Cluster
from edgetvm.manifest import LibraryFile, Manifest, Source, TuningSummary
from edgetvm.opencl_device import OpenCLDevice

STATE = DeviceState(
    clocks_mhz={0: 1500},
    governors=("performance",),
    temperatures_c={},
    throttled=(),
    load=0.1,
    available_memory_bytes=1 << 30,
)


def device_info(
    cpu: str = "Cortex-A76",
    arch: str = "aarch64",
    tvm_version: str = "0.19.0",
    opencl: OpenCLDevice | None = None,
) -> DeviceInfo:
    """A device that does not exist."""
    return DeviceInfo(
        host="secret-name",
        board="",
        arch=arch,
        cpu=cpu,
        features=(),
        cores=4,
        clusters=(Cluster(name="all", core="", cpus=(0, 1, 2, 3), max_clock_mhz=0),),
        memory_bytes=1 << 32,
        pointer_bits=64,
        libc="glibc 2.36",
        kernel="Linux 6.1",
        edgetvm_version="0",
        tvm_version=tvm_version,
        opencl=opencl,
    )


def manifest(model: str, target: str, parameters: int, multiply_adds: int) -> Manifest:
    """What a bundle of a network would say of itself."""
    library = LibraryFile(
        sha256="0", size_bytes=4 * parameters, arch="x86_64", pointer_bits=64, glibc=""
    )
    return Manifest(
        model=model,
        title=model,
        source=Source(
            argument=model, reference=model, options={}, seed=0, weights="", weights_sha256=""
        ),
        input_name="x",
        input_shape=(1, 3, 224, 224),
        output_shapes=((1, 1000),),
        parameters=parameters,
        multiply_adds=multiply_adds,
        activation_bytes=0,
        normalisation=None,
        target=target,
        tvm_target="llvm",
        features=(),
        vector_unit_bytes=16,
        threads=1,
        runs_on="",
        lowering="cpu",
        tasks=(),
        layers=(),
        tuning=TuningSummary(trials=0, search_s=0, records=0, seed=0),
        tuned=library,
        untuned=library,
        golden_sha256="0",
        reference_runtime="PyTorch",
        precision="float32",
        tolerance=1e-4,
        relative_error=None,
        latency=None,
        edgetvm_version="0",
        edgetvm_commit="",
        tvm_version="0.19.0",
        llvm_version="22",
        linker="ld",
        created_at="2025-01-01T00:00:00Z",
    )
