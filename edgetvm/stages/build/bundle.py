"""What was built of a network in, a bundle out."""

import lzma
import shutil
from pathlib import Path

import tvm

from edgetvm import __version__
from edgetvm.files import making_folder, replacing
from edgetvm.golden import GOLDEN, write_golden
from edgetvm.manifest import (
    CODE,
    KERNELS,
    MANIFEST,
    RUNNER,
    TUNED_LIBRARY,
    UNTUNED_LIBRARY,
    Manifest,
    TuningSummary,
    sha256_of,
    write_manifest,
)
from edgetvm.measurement import utc_now
from edgetvm.revision import source_commit
from edgetvm.stages.build.layers import mark_tuned
from edgetvm.stages.build.linker import describe_library, linker_version
from edgetvm.stages.build.network_build import NetworkBuild
from edgetvm.stages.build.runner import build_runner

CODE_PRESET = 1
"""Of the compression: the default takes several times as long for a tenth less."""


def write_bundle(
    build: NetworkBuild, bundle: Path, trials: int = 0, search_s: float = 0.0
) -> Manifest:
    """Put what was built into the folder `bundle` and write its manifest, last.

    Without a manifest a folder is no bundle, so an interruption leaves none rather than a mixture.
    Runs of an earlier bundle in that folder stay.

    Parameters
    ----------
    trials, search_s : of the tuning before, see :class:`edgetvm.manifest.TuningSummary`.

    Raises
    ------
    CompileError
        The program that runs bundles alone cannot be built; an earlier bundle stays as it was.
    """
    bundle.mkdir(parents=True, exist_ok=True)
    with making_folder(bundle / RUNNER) as temporary:
        build_runner(build.profile, temporary)
    (bundle / MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(bundle / KERNELS, ignore_errors=True)
    with replacing(bundle / TUNED_LIBRARY) as temporary:
        shutil.copyfile(build.tuned_library, temporary)
    with replacing(bundle / UNTUNED_LIBRARY) as temporary:
        shutil.copyfile(build.untuned_library(), temporary)
    with making_folder(bundle / GOLDEN) as temporary:
        write_golden(temporary, build.golden_input, build.golden_outputs)
    _write_code(build, bundle)
    tuning = TuningSummary(
        trials=trials,
        search_s=search_s,
        records=build.known_records,
        seed=build.network.recipe.seed,
    )
    manifest = _describe(build, bundle, tuning)
    write_manifest(bundle, manifest)
    return manifest


def _write_code(build: NetworkBuild, bundle: Path) -> None:
    assert build.contents is not None
    (bundle / CODE).unlink(missing_ok=True)
    if build.contents.code:
        with replacing(bundle / CODE) as temporary:
            temporary.write_bytes(lzma.compress(build.contents.code.encode(), preset=CODE_PRESET))


def _describe(build: NetworkBuild, bundle: Path, tuning: TuningSummary) -> Manifest:
    network, profile, contents = build.network, build.profile, build.contents
    assert contents is not None
    summaries = tuple(build.task_summaries())
    tuned = {task.name for task in summaries if task.best_s is not None}
    return Manifest(
        model=network.name,
        title=network.title,
        source=network.source,
        input_name=network.input_name,
        input_shape=network.input_shape,
        output_shapes=tuple(output.shape for output in build.golden_outputs),
        parameters=network.parameters,
        multiply_adds=build.multiply_adds,
        activation_bytes=contents.activation_bytes,
        normalisation=network.recipe.normalisation,
        target=profile.name,
        tvm_target=profile.tvm_target,
        features=profile.features,
        vector_unit_bytes=profile.vector_unit_bytes,
        threads=build.threads,
        runs_on=profile.runs_on,
        lowering=build.lowering,
        tasks=summaries,
        layers=mark_tuned(contents.layers, tuned),
        tuning=tuning,
        tuned=describe_library(bundle / TUNED_LIBRARY),
        untuned=describe_library(bundle / UNTUNED_LIBRARY),
        golden_sha256=sha256_of(bundle / GOLDEN),
        reference_runtime=network.reference_runtime,
        precision=network.recipe.precision,
        tolerance=network.recipe.accepted_error,
        relative_error=build.relative_error,
        latency=build.latency,
        edgetvm_version=__version__,
        edgetvm_commit=source_commit(),
        tvm_version=tvm.__version__,
        llvm_version=str(tvm.support.libinfo()["LLVM_VERSION"]),
        linker=linker_version(),
        created_at=utc_now(),
    )
