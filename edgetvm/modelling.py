"""A bundle in, what a cycle model says of its time on the bundle's target out: nothing is run."""

import lzma
from pathlib import Path

import msgspec

from edgetvm.errors import UsageError
from edgetvm.layer_profile import Ceiling, MemoryCeiling, Roofline
from edgetvm.manifest import CODE, Manifest
from edgetvm.measurement import utc_now
from edgetvm.modelled import ModelledLatency, ModelledLayer
from edgetvm.target_profile import TargetProfile


def model_bundle(
    bundle: Path, manifest: Manifest, profile: TargetProfile, threads: int | None = None
) -> ModelledLatency:
    """Estimate the tuned library, kernel by kernel, from its code.

    Parameters
    ----------
    profile : of the target; its cluster runs the network.
    threads : None for as many as the bundle was tuned for.

    Raises
    ------
    UsageError
        The bundle has no code: it is a GPU's, or was built by an earlier edgetvm.
    CompileError
        One of LLVM's tools refuses the code.
    """
    from edgetvm.stages.cycles.cycle_model import CycleModel
    from edgetvm.stages.cycles.network_code import split_kernels

    threads = min(threads or manifest.threads, profile.cluster.count)
    model = CycleModel(profile, threads)
    kernels = split_kernels(_read_code(bundle, manifest))
    names = list(dict.fromkeys(layer.function for layer in manifest.layers))
    estimates = dict(zip(names, model.estimate([kernels[one] for one in names]), strict=True))
    are_kept = sum(layer.weight_bytes for layer in manifest.layers) <= profile.cluster.l2_bytes
    layers = []
    for layer in manifest.layers:
        estimate = estimates[layer.function]
        # A kernel is estimated as if it ran again and again: what the cache can hold of its weights
        # is there. In a network other layers' are, and they come from memory like the rest.
        fetched_bytes = 0.0 if are_kept else layer.weight_bytes * (1 - estimate.uncached)
        fetching_s = model.fetch_s(fetched_bytes)
        waiting = (estimate.cache + estimate.memory) / estimate.cycles
        layers.append(
            ModelledLayer(
                **msgspec.structs.asdict(layer),
                seconds=estimate.seconds + fetching_s,
                waiting_s=estimate.seconds * waiting + fetching_s,
            )
        )
    seconds = sum(layer.seconds for layer in layers)
    low, high = model.core.band
    return ModelledLatency(
        model=manifest.model,
        target=manifest.target,
        title=profile.title,
        core=profile.cluster.core,
        bundle_id=manifest.bundle_id,
        modelled_at=utc_now(),
        threads=threads,
        clock_mhz=model.clock_mhz,
        layers=tuple(layers),
        seconds=seconds,
        low_s=seconds * low,
        high_s=seconds * high,
        roofline=profile_roofline(profile, threads, model.cache_bytes_per_s),
    )


def profile_roofline(
    profile: TargetProfile, threads: int, cache_bytes_per_s: float
) -> Roofline | None:
    """Return the ceilings that follow from a profile's figures; None if one of them is missing.

    Parameters
    ----------
    cache_bytes_per_s : that all threads get from the second-level cache, which no profile says.
    """
    cluster = profile.cluster
    one_thread = cluster.peak_flop_per_s / cluster.count
    if not one_thread or not profile.memory_bytes_per_s:
        return None
    levels = {0: cache_bytes_per_s, cluster.l2_bytes or 1: profile.memory_bytes_per_s}
    return Roofline(
        flop_per_s=Ceiling(**_exactly(one_thread * threads)),
        one_thread_flop_per_s=Ceiling(**_exactly(one_thread)),
        bytes_per_s=tuple(
            MemoryCeiling(**_exactly(rate), footprint_bytes=size) for size, rate in levels.items()
        ),
    )


def _exactly(value: float) -> dict[str, float]:
    return {"value": value, "low": value, "high": value}


def _read_code(bundle: Path, manifest: Manifest) -> str:
    if manifest.is_for_gpu:
        raise UsageError(
            f"{bundle} is for a GPU, and a cycle model knows CPUs only: deploy it on the device."
        )
    try:
        return lzma.decompress((bundle / CODE).read_bytes()).decode()
    except FileNotFoundError as err:
        raise UsageError(
            f"{bundle / CODE} is missing: build the bundle again with python -m edgetvm.tune "
            f"{manifest.source.argument} --target {manifest.target} --trials 0"
        ) from err
