"""Which bundles a run deploys: those that were named, or all that fit the device."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgetvm.device_info import DeviceInfo
from edgetvm.errors import DeviceError, UsageError, did_you_mean
from edgetvm.manifest import Manifest, bundles_by_model, read_manifest
from edgetvm.records.store import EMULATED, MODELLED, store_folder
from edgetvm.target_profile import HOST

if TYPE_CHECKING:
    from edgetvm.stages.device.session import Address


def choose_bundles(
    models: Sequence[str],
    target: str | None,
    rpc: str | None,
    folder: Path,
    info: DeviceInfo,
    address: "Address",
) -> list[tuple[Path, Manifest]]:
    """Find the bundles to deploy: of the named models, or all of the device's target.

    Parameters
    ----------
    target : whose bundles; None for what fits the device.
    rpc : how the device was named; None for this machine.
    folder : that holds a folder a target.

    Raises
    ------
    UsageError
        There is none, a model's name is unknown, or several targets fit the device.
    DeviceError
        The bundles do not fit the device.
    """
    return _chosen(models, _choose_target(target, rpc, folder, info, address), folder)


def bundles_of(models: Sequence[str], target: str, folder: Path) -> list[tuple[Path, Manifest]]:
    """Find bundles of a target, without asking any device; raises `UsageError` if one is missing.

    Parameters
    ----------
    models : none for all that there are.
    """
    return _chosen(models, _require_built(target, target_as_built(target), folder), folder)


def _chosen(models: Sequence[str], target: str, folder: Path) -> list[tuple[Path, Manifest]]:
    bundles = bundles_by_model(folder, target)
    for model in models:
        if model not in bundles:
            raise UsageError(
                f"No bundle of {model!r} for {target} in {folder}: "
                f"{did_you_mean(model, bundles)} Or build it: "
                f"python -m edgetvm.tune {model} --target {target}"
            )
    chosen = [bundles[model] for model in models or sorted(bundles)]
    return [(bundle, read_manifest(bundle)) for bundle in chosen]


def target_as_built(target: str) -> str:
    """Return the name under which bundles of `target` are kept; ``host`` is this machine's CPU."""
    from edgetvm.stages.host_target import detect_host_profile

    return detect_host_profile().name if target == HOST else target


def _choose_target(
    asked: str | None, rpc: str | None, folder: Path, info: DeviceInfo, address: "Address"
) -> str:
    from edgetvm.stages.host_target import detect_host_profile

    if asked is not None:
        target = store_folder(Path(), target_as_built(asked), emulated=address.opencl).name
        return _require_built(asked, target, folder)
    fitting = _fitting_targets(rpc, folder, info, address)
    if rpc is None and len(fitting) > 1 and (host := detect_host_profile().name) in fitting:
        return host
    if len(fitting) > 1:
        raise UsageError(
            f"Bundles for {', '.join(fitting)} all run on {info.cpu}: say which with --target."
        )
    return fitting[0]


def _require_built(asked: str, target: str, folder: Path) -> str:
    """Return `target`, for which there are bundles."""
    if not bundles_by_model(folder, target):
        built = {bundle.parent.name for bundle in folder.glob("*/*")}
        raise UsageError(
            f"No bundle for the target {target!r} in {folder}: "
            f"{did_you_mean(target, built)} Build one: "
            f"python -m edgetvm.tune MODEL --target {asked}"
        )
    return target


def _fitting_targets(
    rpc: str | None, folder: Path, info: DeviceInfo, address: "Address"
) -> list[str]:
    """Return the targets whose bundles run on the device, at least one."""
    from edgetvm.stages.device.fitting import check_bundle_fits

    targets = {below.name.removesuffix(MODELLED) for below in folder.glob("*")}
    found = {
        name: read_manifest(next(iter(bundles.values())))
        for name in sorted(targets)
        if (bundles := bundles_by_model(folder, name)) and name.endswith(EMULATED) == address.opencl
    }
    if not found:
        there = f"TARGET --rpc {rpc}" if rpc else "host"
        raise UsageError(
            f"No bundle for {rpc or 'this machine'} in {folder}. Build one: "
            f"python -m edgetvm.tune MODEL --target {there}"
        )
    misfits: list[DeviceError] = []
    fitting = []
    for name, manifest in found.items():
        try:
            check_bundle_fits(info, manifest, address)
            fitting.append(name)
        except DeviceError as err:
            misfits.append(err)
    if not fitting:
        raise misfits[0]
    return fitting
