"""What a cycle model says of networks on boards, beside what was published of those very boards."""

from collections.abc import Iterable, Sequence

import msgspec

from edgetvm.modelled import ModelledLatency
from edgetvm.paper.boards import BoardLatency
from edgetvm.paper.devices import load_devices
from edgetvm.paper.evidence import TargetEvidence
from edgetvm.paper.figures import Paper
from edgetvm.paper.published_latency import PublishedLatency, published_latencies


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
    """Return what was published of a network on the estimate's board, in float32."""
    devices = load_devices()
    return [
        one
        for one in published_latencies(papers, boards)
        if (one.model, one.threads) == (modelled.model, modelled.threads)
        and one.is_float32(modelled.core)
        and one.device in devices
        and modelled.target in devices[one.device].targets
    ]
