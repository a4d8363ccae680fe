"""Every latency that was published of a device, by a paper or of a board, in one form."""

from collections.abc import Iterable, Iterator

import msgspec

from edgetvm.paper.boards import BoardLatency
from edgetvm.paper.figures import Paper

WITHOUT_HALF = ("Cortex-A53", "Cortex-A57", "Cortex-A72", "Cortex-A73", "Kryo", "Kryo 280 Gold")
"""Cores of Armv8.0, which has no arithmetic in half precision."""


class PublishedLatency(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A latency of a device, of whatever source.

    Attributes
    ----------
    model : our name of the network.
    device : as the source prints it.
    threads : None if not stated, or of a graphics processor.
    runtime, version : what ran it; empty if not stated.
    precision : ``ncnn default`` is float32 or float16, as the CPU has it; None if not stated.
    source : paper and table, or where else it was published.
    """

    model: str
    device: str
    threads: int | None
    runtime: str
    version: str
    precision: str | None
    latency_s: float
    source: str

    def is_float32(self, core: str) -> bool:
        """Whether it is one of float32 arithmetic, given the design of the device's cores."""
        is_default = self.precision == "ncnn default" and core in WITHOUT_HALF
        return self.precision == "float32" or is_default


def published_latencies(
    papers: Iterable[Paper], boards: Iterable[BoardLatency]
) -> Iterator[PublishedLatency]:
    """Yield the latencies of the papers, then those of boards.

    A paper that does not state its threads is taken to mean one, as the others say.
    """
    for paper in papers:
        for figure in paper.figures:
            if figure.device and figure.latency_ms:
                yield PublishedLatency(
                    model=figure.model,
                    device=figure.device,
                    threads=figure.threads or 1,
                    runtime=figure.runtime or "",
                    version="",
                    precision=figure.precision,
                    latency_s=figure.latency_ms / 1e3,
                    source=f"{paper.citation}, {figure.where}",
                )
    for row in boards:
        yield PublishedLatency(
            model=row.model,
            device=row.device,
            threads=row.threads,
            runtime=row.runtime,
            version=row.version,
            precision=row.precision,
            latency_s=row.latency_ms / 1e3,
            source=row.source,
        )
