"""What is said of a bundle that no compiler built: its manifest, its runs, its records."""

import msgspec

from edgetvm.manifest import (
    AUTO_SCHEDULER,
    LibraryFile,
    Manifest,
    Source,
    TaskSummary,
    TuningSummary,
    write_manifest,
)
from edgetvm.measurement import Run, write_run
from edgetvm.paths import DataFolders
from edgetvm.recipe import FLOAT32
from edgetvm.records import RecordStore
from tests.planted_records import TARGET, VERSION, line

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def task(number: int, count: int = 1) -> TaskSummary:
    """A task of the workload that `tests.planted_records.line` has a trial of."""
    return TaskSummary(
        name=f"conv {number}",
        workload_key=f'["hash{number}", [1]]',
        count=count,
        flop=1e6,
        best_s=1e-3,
        tuner=AUTO_SCHEDULER,
        record="0" * 16,
    )


def plant_bundle(folders: DataFolders, run: Run, **changes: object) -> Manifest:
    """Write a bundle of two tasks that `run` is of, with `changes` to its manifest."""
    bundle = folders.bundles / run.target / run.model
    manifest = Manifest(
        model=run.model,
        title=run.model,
        source=Source(
            argument=run.model,
            reference="module:callable",
            options={},
            seed=0,
            weights="",
            weights_sha256="",
        ),
        input_name="x",
        input_shape=(1, 3, 32, 32),
        output_shapes=((1, 10),),
        parameters=1000,
        multiply_adds=10**6,
        activation_bytes=1000,
        normalisation=None,
        precision=FLOAT32,
        target=run.target,
        tvm_target=TARGET,
        features=(),
        vector_unit_bytes=32,
        threads=run.tuned.threads,
        runs_on="",
        lowering="cpu",
        tasks=(task(1, count=2), task(2)),
        layers=(),
        tuning=TuningSummary(trials=0, search_s=0.0, records=4, seed=0),
        tuned=_library("tuned"),
        untuned=_library("untuned"),
        golden_sha256="golden",
        reference_runtime="PyTorch",
        tolerance=1e-4,
        relative_error=1e-6,
        latency=None,
        edgetvm_version="0",
        edgetvm_commit=COMMIT,
        tvm_version=VERSION,
        llvm_version="22",
        linker="lld",
        created_at="2025-01-01T00:00:00Z",
    )
    manifest = msgspec.structs.replace(manifest, **changes)
    write_manifest(bundle, manifest)
    write_run(run, bundle)
    return manifest


def plant_records(folders: DataFolders, target: str, threads: int) -> None:
    """Write four trials of the two tasks: the estimate falls from 7 ms to 5 and to 4."""
    store = RecordStore(folders.tuning_logs / target, threads)
    for text in (
        line(1, 0.002, at_s=1),
        line(1, 0.001, at_s=4),  # stores that were merged are in no order
        line(2, 0.003, at_s=2),
        line(2, None, at_s=3),
        line(2, 0.002, at_s=5),
    ):
        store.append(text)


def _library(sha256: str) -> LibraryFile:
    return LibraryFile(sha256=sha256, size_bytes=1, arch="x86_64", pointer_bits=64, glibc="")
