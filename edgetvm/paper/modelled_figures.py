"""What a cycle model says of networks on boards, beside what was published of those very boards."""

from collections.abc import Iterable, Sequence

import msgspec

from edgetvm.modelled import ModelledLatency
from edgetvm.paper.boards import BoardLatency, is_float32
from edgetvm.paper.devices import load_devices
from edgetvm.paper.evidence import TargetEvidence
from edgetvm.paper.figures import Paper, figures_of


class PublishedLatency(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A latency of a board in float32, of whatever source.

    Attributes
    ----------
    device : as the source prints it.
    threads : None if not stated.
    source : paper and table, or where else it was published.
    """

    device: str
    threads: int | None
    runtime: str
    latency_s: float
    source: str


class ModelledFigure(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An estimate of a network on a board, seconds, and one latency that was published of it.

    Attributes
    ----------
    title : of the board.
    published : None if there is none of as many threads.
    """

    model: str
    target: str
    title: str
    threads: int
    seconds: float
    low_s: float
    high_s: float
    published: PublishedLatency | None

    @property
    def is_within_band(self) -> bool | None:
        """Whether the published latency lies within the estimate's band."""
        if self.published is None:
            return None
        return self.low_s <= self.published.latency_s <= self.high_s


def compare_modelled(
    evidence: Iterable[TargetEvidence], papers: Sequence[Paper], boards: Sequence[BoardLatency]
) -> tuple[ModelledFigure, ...]:
    """Put every estimate beside the latencies that were published of its board, if any."""
    return tuple(
        ModelledFigure(
            model=modelled.model,
            target=modelled.target,
            title=modelled.title,
            threads=modelled.threads,
            seconds=modelled.seconds,
            low_s=modelled.low_s,
            high_s=modelled.high_s,
            published=published,
        )
        for target in evidence
        for network in target.networks.values()
        if (modelled := network.modelled) is not None
        for published in published_of(modelled, papers, boards) or (None,)
    )


def published_of(
    modelled: ModelledLatency, papers: Sequence[Paper], boards: Sequence[BoardLatency]
) -> list[PublishedLatency]:
    """Return what was published of a network on the estimate's board, in float32.

    A paper that does not state its threads is taken to mean one, as the others say.
    """
    found = [
        PublishedLatency(
            device=figure.device,
            threads=figure.threads or 1,
            runtime=figure.runtime or "",
            latency_s=figure.latency_ms / 1e3,
            source=f"{paper.citation}, {figure.where}",
        )
        for paper, figure in figures_of(modelled.model, papers)
        if figure.device and figure.latency_ms and figure.precision == "float32"
    ]
    found += [
        PublishedLatency(
            device=row.device,
            threads=row.threads,
            runtime=f"{row.runtime} {row.version}".strip(),
            latency_s=row.latency_ms / 1e3,
            source=row.source,
        )
        for row in boards
        if row.model == modelled.model and is_float32(row, modelled.core)
    ]
    devices = load_devices()
    return [
        one
        for one in found
        if one.threads == modelled.threads
        and one.device in devices
        and modelled.target in devices[one.device].targets
    ]
