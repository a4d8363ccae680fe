"""Ratios between two networks as the papers have them. No measured latency comes in here."""

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from edgetvm.paper.figures import Figure, Paper

Basis = Literal["latency", "multiply-adds", "operations"]


class PublishedRatio(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A quantity of one network over that of another, both as published.

    Attributes
    ----------
    basis : the quantity; only ``latency`` is one.
    papers : citation of the paper, or of both if no one paper holds both networks.
    where : table of the paper, or one table for each network if they differ.
    device, precision : of both latencies; None unless the basis is ``latency``.
    """

    basis: Basis
    ratio: float
    papers: tuple[str, ...]
    where: tuple[str, ...]
    device: str | None = None
    precision: str | None = None


def published_ratios(
    numerator: str, denominator: str, papers: Sequence[Paper]
) -> tuple[PublishedRatio, ...]:
    """Return every published ratio of two networks on the best basis there is, else none.

    Latencies are compared only within one table, on one device, in one setting. Where no table
    has both, the published counts stand in: multiply-adds of one paper, operations of one
    paper, and at last multiply-adds out of two papers.
    """
    found = (
        [ratio for paper in papers for ratio in _latency_ratios(numerator, denominator, paper)]
        or _counts_of_one_paper("multiply-adds", numerator, denominator, papers)
        or _counts_of_one_paper("operations", numerator, denominator, papers)
        or _multiply_adds_of_two_papers(numerator, denominator, papers)
    )
    return tuple(found)


def _latency_ratios(numerator: str, denominator: str, paper: Paper) -> Iterable[PublishedRatio]:
    timed = [figure for figure in paper.figures if figure.latency_ms is not None]
    below = {figure.setting: figure for figure in timed if figure.model == denominator}
    for above in timed:
        if above.model == numerator and above.setting in below:
            yield _ratio("latency", (paper, above), (paper, below[above.setting]))


def _counts_of_one_paper(
    basis: Basis, numerator: str, denominator: str, papers: Sequence[Paper]
) -> list[PublishedRatio]:
    """Return one ratio a paper that counts both networks, of one table where possible."""
    ratios = []
    for paper in papers:
        pairs = [
            (above, below)
            for above in _counted(basis, numerator, paper)
            for below in _counted(basis, denominator, paper)
        ]
        if pairs:
            above, below = next((p for p in pairs if p[0].where == p[1].where), pairs[0])
            ratios.append(_ratio(basis, (paper, above), (paper, below)))
    return ratios


def _multiply_adds_of_two_papers(
    numerator: str, denominator: str, papers: Sequence[Paper]
) -> list[PublishedRatio]:
    """Return one ratio of the oldest count of each network."""
    above, below = (
        [(paper, row) for paper in papers for row in _counted("multiply-adds", model, paper)]
        for model in (numerator, denominator)
    )
    return [_ratio("multiply-adds", above[0], below[0])] if above and below else []


def _counted(basis: Basis, model: str, paper: Paper) -> list[Figure]:
    rows = (figure for figure in paper.figures if figure.model == model)
    return [figure for figure in rows if _quantity(basis, figure) is not None]


def _quantity(basis: Basis, figure: Figure) -> float | None:
    return {
        "latency": figure.latency_ms,
        "multiply-adds": figure.madds_m,
        "operations": figure.flop_m,
    }[basis]


def _ratio(
    basis: Basis, above: tuple[Paper, Figure], below: tuple[Paper, Figure]
) -> PublishedRatio:
    numerator, denominator = (_quantity(basis, figure) for _, figure in (above, below))
    assert numerator is not None
    assert denominator is not None
    timed = basis == "latency"
    # Two papers may both have a Table 3: a table is dropped only with its paper.
    places = dict.fromkeys((paper.citation, figure.where) for paper, figure in (above, below))
    return PublishedRatio(
        basis=basis,
        ratio=numerator / denominator,
        papers=tuple(dict.fromkeys(citation for citation, _ in places)),
        where=tuple(where for _, where in places),
        device=above[1].device if timed else None,
        precision=above[1].precision if timed else None,
    )
