"""All that there is to report on: the files behind the runs of a comparison."""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import msgspec

from edgetvm.errors import UsageError
from edgetvm.files import toml_stems
from edgetvm.layer_profile import LayerProfile, latest_profile
from edgetvm.manifest import Manifest, bundles_by_model, read_manifest
from edgetvm.measurement import Run, list_runs
from edgetvm.paper.comparison import Comparison, ModelComparison
from edgetvm.paper.figures import Paper
from edgetvm.paths import DataFolders
from edgetvm.records import RecordStore
from edgetvm.records.line import RecordLine
from edgetvm.records.store import MODELLED, store_folder
from edgetvm.reporting.tuning_curve import TuningCurve, tuning_curve
from edgetvm.target_profile import target_argument


class Network(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one network on one target.

    Attributes
    ----------
    compared : its run beside the papers' figures.
    label : its name, with the setting if there is more than one.
    architecture : the recipe file that its name begins with; the whole name without one.
    target_option : what ``--target`` takes for its target when it is tuned.
    profile : the newest of its bundle; None if that is of another setting, or there is none.
    records : the file that its curve comes from.
    curve : None if a task has no record of AutoScheduler's.
    """

    compared: ModelComparison
    run: Run
    manifest: Manifest
    label: str
    architecture: str
    target_option: str
    profile: LayerProfile | None
    records: Path
    curve: TuningCurve | None

    @property
    def model(self) -> str:
        """Its name."""
        return self.run.model

    @property
    def setting(self) -> str:
        """What two latencies must share to be compared."""
        one = self.compared
        return f"{one.device} ({one.target}), threads: {one.threads}"


class Material(msgspec.Struct, frozen=True, kw_only=True):
    """A comparison, its networks in its order, and the papers that it is with."""

    comparison: Comparison
    papers: Sequence[Paper]
    networks: tuple[Network, ...]

    @property
    def by_setting(self) -> dict[str, list[Network]]:
        """The networks of each setting."""
        groups: dict[str, list[Network]] = {}
        for network in self.networks:
            groups.setdefault(network.setting, []).append(network)
        return groups

    @property
    def bundles(self) -> list[Network]:
        """One network for each bundle, also if that ran in several settings."""
        return list({(one.run.target, one.model): one for one in self.networks}.values())


def gather_material(
    comparison: Comparison, papers: Sequence[Paper], folders: DataFolders
) -> Material:
    """Read the bundles, profiles and records behind the runs of `comparison`.

    Raises
    ------
    UsageError
        There is no run, or a bundle or profile comes from another version of edgetvm.
    RecordError
        A file of records cannot be read.
    """
    if not comparison.models:
        raise UsageError(
            "No device ran these bundles, and emulators and models say nothing of its speed. "
            "Deploy them on one: python -m edgetvm.deploy --rpc HOST"
        )

    @cache
    def records_of(folder: Path, threads: int) -> list[RecordLine]:
        return RecordStore(folder, threads).read_records()

    networks = [_network(one, folders, records_of) for one in comparison.models]
    if len({one.setting for one in networks}) > 1:
        networks = [
            msgspec.structs.replace(one, label=f"{one.model} on {one.setting}") for one in networks
        ]
    return Material(
        comparison=comparison,
        papers=papers,
        networks=tuple(networks),
    )


def _network(
    compared: ModelComparison,
    folders: DataFolders,
    records_of: Callable[[Path, int], list[RecordLine]],
) -> Network:
    bundle = bundles_by_model(folders.bundles, compared.target)[compared.model]
    manifest, profile = read_manifest(bundle, check_files=False), latest_profile(bundle)
    run = next(one for one in list_runs(bundle) if _is_run_of(compared, one))
    profiled = (profile.device.processor, profile.threads) if profile else None
    flushed = manifest.latency is not None and manifest.latency.estimate_flushed
    store = store_folder(
        folders.tuning_logs,
        manifest.target,
        flushed=flushed,
        modelled=bundle.parent.name.endswith(MODELLED),
    )
    stems = [stem for stem in toml_stems(folders.recipes) if run.model.startswith(stem)]
    return Network(
        compared=compared,
        run=run,
        manifest=manifest,
        label=run.model,
        architecture=max(stems, key=len, default=run.model),
        target_option=target_argument(manifest.target, folders.profiles),
        profile=profile if profiled == (compared.device, compared.threads) else None,
        records=RecordStore(store, manifest.threads).path,
        curve=tuning_curve(manifest.tasks, records_of(store, manifest.threads)),
    )


def _is_run_of(compared: ModelComparison, run: Run) -> bool:
    return (compared.measured_at, compared.device, compared.threads) == (
        run.measured_at,
        run.device.processor,
        run.tuned.threads,
    )
