"""The models that there are: what they are, how large, and what was published of their size."""

from collections.abc import Mapping, Sequence

import msgspec

from edgetvm.models.counting import count
from edgetvm.paper.figures import Paper, figures_of
from edgetvm.paper.table import NOTHING, Row
from edgetvm.recipe import Recipe


class ModelSize(msgspec.Struct, frozen=True, kw_only=True):
    """A model's size, ours and published.

    Attributes
    ----------
    paper : its arXiv number; empty if it has none.
    citation : of the paper as people write it; empty if it has no figures here.
    parameters, multiply_adds : counted from the network.
    published_params_m, published_madds_m : millions; None where the papers give none.
    """

    name: str
    paper: str
    citation: str
    input_shape: tuple[int, ...]
    parameters: int
    multiply_adds: int
    published_params_m: float | None
    published_madds_m: float | None


def measure_model(name: str, recipe: Recipe, papers: Sequence[Paper]) -> ModelSize:
    """Count one model, and find what its papers published of it.

    Raises
    ------
    UsageError
        As for :func:`edgetvm.models.counting.count`.
    """
    counts = count(recipe)
    citations = {paper.arxiv: paper.citation for paper in papers}
    published = published_counts(name, recipe, papers)
    return ModelSize(
        name=name,
        paper=recipe.paper,
        citation=citations.get(recipe.paper, ""),
        input_shape=recipe.input_shape,
        parameters=counts.parameters,
        multiply_adds=counts.madds,
        published_params_m=published.get("params_m"),
        published_madds_m=published.get("madds_m"),
    )


def listing_row(size: ModelSize) -> Row:
    """Return one model's row, with our counts beside those of its papers."""
    madds_m = size.multiply_adds / 1e6
    return {
        "Model": size.name,
        "Paper": size.citation or (f"arXiv {size.paper}" if size.paper else NOTHING),
        "Input": "x".join(map(str, size.input_shape[1:])),
        "Parameters": f"{size.parameters:,}",
        **_published_cells("parameters", size.parameters / 1e6, size.published_params_m),
        "Multiply-adds": f"{madds_m:,.1f} M",
        **_published_cells("multiply-adds", madds_m, size.published_madds_m),
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
