"""Measured runs beside the papers' figures: runs and papers in, a :class:`Comparison` out.

Two latencies are divided by one another only if both are ours, from one device, or both are
one paper's, from one table and one device. Ours and a paper's stand side by side and no more.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations, groupby

import msgspec

from edgetvm.errors import UsageError
from edgetvm.measurement import Run
from edgetvm.paper.boards import BoardComparison
from edgetvm.paper.claim_check import RatioCheck
from edgetvm.paper.devices import Match, match_device
from edgetvm.paper.estimate import Estimate, estimate_median, estimate_ratio
from edgetvm.paper.evidence import NetworkEvidence, newest_runs, setting
from edgetvm.paper.figures import Figure, Paper, figures_of
from edgetvm.paper.modelled_figures import ModelledFigure
from edgetvm.paper.published_ratio import PublishedRatio, published_ratios
from edgetvm.recipe import Precision

MIN_SAMPLES = 2
"""Samples that a measurement needs for an interval."""


class PublishedFigure(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A paper's figure beside our run of the same network.

    Attributes
    ----------
    paper : its citation.
    match : how near its latency's device is to ours; None without latency.
    """

    paper: str
    figure: Figure
    match: Match | None


class ModelComparison(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One run: our latencies of one network, seconds, and what the papers say of it.

    Attributes
    ----------
    device : CPU of the device that ran it, as its kernel names it.
    threads : of the tuned library.
    reference : latency of the reference network on the same machine; None on another.
    reference_runtime : what ran the reference, with its threads; empty without one.
    speedup : untuned over tuned; above 1, tuning gained.
    parameters, multiply_adds, precision : as our bundle has them; None if it was not asked.
    estimate_s, at_build_s, relative_error : see :class:`edgetvm.measurement.Run`.
    published : figures with a latency first, then those with accuracy and counts only.
    """

    model: str
    target: str
    device: str
    threads: int
    measured_at: str
    untuned: Estimate
    tuned: Estimate
    reference: Estimate | None
    reference_runtime: str
    speedup: Estimate
    relative_error: float
    estimate_s: float | None
    at_build_s: float | None
    tuned_tasks: int
    tasks: int
    parameters: int | None
    multiply_adds: int | None
    precision: Precision | None
    published: tuple[PublishedFigure, ...]


class PairComparison(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Two networks on one device with as many threads, and the papers' ratios of the two.

    Attributes
    ----------
    slower, faster : models, by our tuned latency.
    ratio : our tuned latency of `slower` over that of `faster`.
    published : the papers' `slower` over `faster`; below 1 where a paper has it the other way.
    """

    slower: str
    faster: str
    target: str
    device: str
    threads: int
    ratio: Estimate
    published: tuple[PublishedRatio, ...]


class Comparison(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Our runs and every pair of them beside the papers, in a stable order.

    Attributes
    ----------
    claims : what the papers claim, a number each, and whether it holds here.
    boards : our latencies beside those that others published of boards.
    modelled : estimates of boards beside what was published of them.
    """

    models: tuple[ModelComparison, ...]
    pairs: tuple[PairComparison, ...]
    claims: tuple[RatioCheck, ...] = ()
    boards: tuple[BoardComparison, ...] = ()
    modelled: tuple[ModelledFigure, ...] = ()


def compare(
    runs: Sequence[Run],
    papers: Sequence[Paper],
    networks: Mapping[tuple[str, str], NetworkEvidence] | None = None,
) -> Comparison:
    """Put `runs` beside the figures of `papers`; claims and boards are left to `gather`.

    Of several runs of one network in one setting (target, CPU, threads) the newest counts.
    Pairs are made within a setting only. A run on an emulated device has no place here.

    Parameters
    ----------
    networks : by target and model, for their own counts; None without.

    Raises
    ------
    UsageError
        A run has fewer than `MIN_SAMPLES` samples, so that no interval can be given.
    """
    newest = newest_runs(runs)
    counted = networks or {}
    for run in newest:
        _require_samples(run)
    return Comparison(
        models=tuple(
            _compare_model(run, papers, counted.get((run.target, run.model))) for run in newest
        ),
        pairs=tuple(
            _compare_pair(first, second, papers)
            for _, group in groupby(newest, key=setting)
            for first, second in combinations(group, 2)
        ),
    )


def _require_samples(run: Run) -> None:
    for measurement in (run.tuned, run.untuned, run.reference):
        if measurement is not None and len(measurement.samples_s) < MIN_SAMPLES:
            raise UsageError(
                f"The run of {run.model} on {run.target} of {run.measured_at} has fewer than "
                f"{MIN_SAMPLES} samples, too few for an interval. Deploy it again with more."
            )


def _compare_model(
    run: Run, papers: Sequence[Paper], network: NetworkEvidence | None
) -> ModelComparison:
    reference = run.reference
    return ModelComparison(
        model=run.model,
        target=run.target,
        device=run.device.processor,
        threads=run.tuned.threads,
        measured_at=run.measured_at,
        untuned=estimate_median(run.untuned),
        tuned=estimate_median(run.tuned),
        reference=estimate_median(reference) if reference else None,
        reference_runtime=f"{reference.runtime}, threads: {reference.threads}" if reference else "",
        speedup=estimate_ratio(run.untuned, run.tuned),
        relative_error=run.relative_error,
        estimate_s=run.estimate_s,
        at_build_s=run.at_build_s,
        tuned_tasks=run.tuned_tasks,
        tasks=run.tasks,
        parameters=network.parameters if network else None,
        multiply_adds=network.multiply_adds if network else None,
        precision=network.precision if network else None,
        published=_published_figures(run, papers),
    )


def _published_figures(run: Run, papers: Sequence[Paper]) -> tuple[PublishedFigure, ...]:
    beside = [
        PublishedFigure(
            paper=paper.citation,
            figure=figure,
            match=None if figure.device is None else match_device(figure.device, run),
        )
        for paper, figure in figures_of(run.model, papers)
    ]
    return tuple(sorted(beside, key=lambda one: one.figure.latency_ms is None))


def _compare_pair(first: Run, second: Run, papers: Sequence[Paper]) -> PairComparison:
    slower, faster = sorted((first, second), key=lambda run: (-run.tuned.median_s, run.model))
    return PairComparison(
        slower=slower.model,
        faster=faster.model,
        target=slower.target,
        device=slower.device.processor,
        threads=slower.tuned.threads,
        ratio=estimate_ratio(slower.tuned, faster.tuned),
        published=published_ratios(slower.model, faster.model, papers),
    )
