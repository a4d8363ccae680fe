"""The models that there are: what they are, how large, and what was published of their size."""

from collections.abc import Mapping, Sequence

from edgetvm.models.counting import count
from edgetvm.paper.figures import Paper, figures_of
from edgetvm.paper.table import NOTHING, Row
from edgetvm.recipe import Recipe


def listing_row(name: str, recipe: Recipe, papers: Sequence[Paper]) -> Row:
    """Return one model's row, with our counts beside those of its papers.

    Raises
    ------
    UsageError
        As for :func:`edgetvm.models.counting.count`.
    """
    counts = count(recipe)
    citations = {paper.arxiv: paper.citation for paper in papers}
    published = published_counts(name, recipe, papers)
    return {
        "Model": name,
        "Paper": citations.get(recipe.paper, f"arXiv {recipe.paper}" if recipe.paper else NOTHING),
        "Input": "x".join(map(str, recipe.input_shape[1:])),
        "Parameters": f"{counts.parameters:,}",
        **_published_cells("parameters", counts.parameters / 1e6, published.get("params_m")),
        "Multiply-adds": f"{counts.madds / 1e6:,.1f} M",
        **_published_cells("multiply-adds", counts.madds / 1e6, published.get("madds_m")),
    }


def published_counts(name: str, recipe: Recipe, papers: Sequence[Paper]) -> Mapping[str, float]:
    """Return the published ``params_m`` and ``madds_m`` of a model, where there are any.

    Of several that of the paper that defines the network counts, and there the first.
    """
    rows = sorted(figures_of(name, papers), key=lambda row: row[0].arxiv != recipe.paper)
    found: dict[str, float] = {}
    for _, figure in rows:
        for field in ("params_m", "madds_m"):
            value = getattr(figure, field)
            if value is not None:
                found.setdefault(field, value)
    return found


def _published_cells(what: str, ours_m: float, published_m: float | None) -> Row:
    headers = (f"Published {what}", f"Difference in {what}")
    if published_m is None:
        return dict.fromkeys(headers, NOTHING)
    cells = f"{published_m:.10g} M", f"{ours_m / published_m - 1:+.1%}"
    return dict(zip(headers, cells, strict=True))
