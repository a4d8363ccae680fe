"""The bundle: a folder with everything that a device needs to run and check one network.

``library.so`` (tuned), ``untuned.so`` (TVM's default schedules), ``golden/`` (``input.npy`` and the
reference's ``output_0.npy``, ``output_1.npy`` and so on, float32), ``runner/`` (programs in C and
Python that run the bundle alone, and TVM's runtime for the device) and ``manifest.json``, which is
written last: a folder without one is not a bundle. ``code.ll.xz`` is a CPU's kernels as LLVM IR,
from which their time is estimated on cores that are not at hand. ``kernels/``, what a GPU's driver
compiled, is added by runs.
"""

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from edgetvm import __version__
from edgetvm.errors import UsageError
from edgetvm.files import read_json, write_json
from edgetvm.golden import GOLDEN
from edgetvm.latency_breakdown import LatencyBreakdown
from edgetvm.layer_profile import LayerWork
from edgetvm.recipe import Compression, Normalisation, Precision
from edgetvm.records.store import MODELLED

SCHEMA_VERSION = 8
AUTO_SCHEDULER, METASCHEDULE = "auto_scheduler", "metaschedule"
"""The tuners, as manifests and the command line name them."""

MANIFEST, TUNED_LIBRARY, UNTUNED_LIBRARY = "manifest.json", "library.so", "untuned.so"
RUNNER, KERNELS, CODE = "runner", "kernels", "code.ll.xz"


class Source(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the network came from, enough to make the reference again.

    Attributes
    ----------
    argument : MODEL of the command line: a recipe's name, a path or ``module:callable``.
    reference : ``module:callable``, or the path of an ONNX file.
    options : keyword arguments of the factory.
    weights : checkpoint file; empty for random weights from `seed`.
    weights_sha256 : of the checkpoint or ONNX file; empty for random weights.
    key_map : that renamed the checkpoint's keys; empty if they were ours.
    compression : that the weights went through.
    """

    argument: str
    reference: str
    options: dict[str, Any]
    seed: int
    weights: str
    weights_sha256: str
    key_map: str = ""
    compression: Compression | None = None


class TaskSummary(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One tuning task as it went into the library.

    Attributes
    ----------
    count : how often the network runs it.
    flop : floating-point operations of one run.
    best_s : fastest record, seconds; None if the task is untuned.
    tuner : whose schedule that is; None if the task is untuned.
    record : digest of its record in the store; None if untuned, or MetaSchedule's, which has none.
    """

    name: str
    workload_key: str
    count: int
    flop: float
    best_s: float | None
    tuner: str | None
    record: str | None


class TuningSummary(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the schedules were found with.

    Attributes
    ----------
    trials : candidates measured in the run that built the bundle.
    search_s : seconds that this took.
    records : of this and earlier runs, that the best were taken from.
    seed : of the search.
    """

    trials: int
    search_s: float
    records: int
    seed: int


class LibraryFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A shared library of the bundle.

    Attributes
    ----------
    arch : machine that the ELF header names, as ``uname -m`` prints it.
    pointer_bits : 32 or 64.
    glibc : newest glibc symbol version asked for; empty if none.
    needs : names of the shared libraries that it is linked with.
    """

    sha256: str
    size_bytes: int
    arch: str
    pointer_bits: int
    glibc: str
    needs: tuple[str, ...] = ()


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a bundle holds and how it came about.

    Attributes
    ----------
    multiply_adds : of convolutions and matrix products, one inference.
    activation_bytes : that TVM's executor reserves on the device for input, output and all between;
        weights, about as large as the library, come on top.
    runs_on : cluster of the device's cores that it is compiled and tuned for; empty if there is
        one kind only.
    lowering : TVM's operator library whose default schedules the untuned library has, ``cpu`` or
        ``arm_cpu``: the faster one on the device.
    layers : operators of the tuned library, in the order in which they run.
    relative_error : of the tuned library on the device when the bundle was built; None if it was
        not checked there.
    edgetvm_commit : of the checkout that built it, with ``-dirty`` if it was changed; empty if
        edgetvm was installed from a package.
    linker : program and version.
    license : SPDX expression for all but the weights, which are their owner's.
    latency : of the tuned library, also if it was slower and the bundle holds the untuned one in
        its place; None without a single record.
    """

    schema_version: int = SCHEMA_VERSION
    model: str
    title: str
    source: Source
    input_name: str
    input_shape: tuple[int, ...]
    output_shapes: tuple[tuple[int, ...], ...]
    parameters: int
    multiply_adds: int
    activation_bytes: int
    normalisation: Normalisation | None
    target: str
    tvm_target: str
    features: tuple[str, ...]
    vector_unit_bytes: int
    threads: int
    runs_on: str
    lowering: str
    tasks: tuple[TaskSummary, ...]
    layers: tuple[LayerWork, ...]
    tuning: TuningSummary
    tuned: LibraryFile
    untuned: LibraryFile
    golden_sha256: str
    reference_runtime: str
    precision: Precision
    tolerance: float
    relative_error: float | None
    latency: LatencyBreakdown | None
    edgetvm_version: str
    edgetvm_commit: str
    tvm_version: str
    llvm_version: str
    linker: str
    license: str = "Apache-2.0"
    created_at: str

    @property
    def tuned_tasks(self) -> int:
        """Number of tasks that have a record."""
        return sum(task.best_s is not None for task in self.tasks)

    @property
    def tasks_by_tuner(self) -> Counter[str]:
        """Number of tasks whose schedule each tuner made."""
        return Counter(task.tuner for task in self.tasks if task.tuner is not None)

    @property
    def is_for_gpu(self) -> bool:
        """Whether its kernels are OpenCL's."""
        return self.tvm_target.startswith("opencl")

    @property
    def bundle_id(self) -> str:
        """Digest of the bundle's content, to tell one bundle of a model from the next."""
        parts = (self.tuned.sha256, self.untuned.sha256, self.golden_sha256)
        return hashlib.sha256("".join(parts).encode()).hexdigest()[:16]


def read_manifest(bundle: Path, *, check_files: bool = True) -> Manifest:
    """Read the manifest of the folder `bundle`, and check its files against it unless told not to.

    Raises
    ------
    UsageError
        The folder is no bundle, comes from another version of edgetvm, or was changed.
    """
    try:
        manifest = read_json(bundle / MANIFEST, Manifest)
    except UsageError as err:
        raise UsageError(
            f"{bundle} is no bundle of edgetvm {__version__}: build it again with "
            f"python -m edgetvm.tune. ({err})"
        ) from err
    remedy = (
        f"Build it again: python -m edgetvm.tune {manifest.source.argument} "
        f"--target {manifest.target}"
    )
    if manifest.schema_version != SCHEMA_VERSION:
        raise UsageError(
            f"{bundle / MANIFEST}: schema_version {manifest.schema_version} is not "
            f"{SCHEMA_VERSION}. {remedy}"
        )
    if not check_files:
        return manifest
    expected = {
        TUNED_LIBRARY: manifest.tuned.sha256,
        UNTUNED_LIBRARY: manifest.untuned.sha256,
        GOLDEN: manifest.golden_sha256,
    }
    for name, sha256 in expected.items():
        path = bundle / name
        if not path.exists() or sha256_of(path) != sha256:
            raise UsageError(f"{path} is missing or not the file that was built. {remedy}")
    return manifest


def write_manifest(bundle: Path, manifest: Manifest) -> None:
    """Write the manifest, which makes the folder a bundle."""
    write_json(bundle / MANIFEST, manifest)


def list_bundles(folder: Path) -> list[Path]:
    """Return the bundles below ``build/<target>``, sorted by name."""
    return sorted(path.parent for path in folder.glob(f"*/{MANIFEST}"))


def bundles_by_model(folder: Path, target: str) -> dict[str, Path]:
    """Return the bundles of a target; of a model that was tuned twice, the one by measuring."""
    places = [folder / (target + MODELLED), folder / target]
    return {bundle.name: bundle for place in places for bundle in list_bundles(place)}


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal; of a folder, that of its files' in order."""
    if path.is_dir():
        parts = "".join(sha256_of(one) for one in sorted(path.iterdir()))
        return hashlib.sha256(parts.encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
