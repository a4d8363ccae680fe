"""Published figures: one TOML file a paper in `figures/`; see `figures/README.md`."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from edgetvm.errors import UsageError
from edgetvm.files import read_toml
from edgetvm.recipe import Resolution

FIGURES = Path(__file__).parent / "figures"
"""The folder of papers that comes with edgetvm."""

Text = Annotated[str, msgspec.Meta(min_length=1)]
Positive = Annotated[float, msgspec.Meta(gt=0)]
Count = Annotated[int, msgspec.Meta(ge=1)]
Precision = Literal["float32", "float16", "int8"]

_VALUES = ("top1", "coco_map", "miou", "params_m", "madds_m", "flop_m", "latency_ms")


class Figure(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one row of one paper says of one network. None is what the source does not state.

    Attributes
    ----------
    model : our name of the network.
    printed_as : its name as printed.
    where : table, figure or page that holds the row, such as ``Table 4``.
    source : the text that the row was read in.
    input_resolution : side of the square input, pixels; ``"512x1024"``, height first, of others.
    top1 : accuracy on ImageNet's validation set, percent.
    coco_map : mean average precision of detection on COCO, percent; `note` names the part of COCO.
    miou : mean intersection over union of segmentation, percent; `note` names the data set.
    params_m : parameters, millions.
    madds_m : multiply-adds of one image, millions.
    flop_m : operations of one image, millions, where multiply and add are counted apart.
    latency_ms : of one image, milliseconds, on `device`.
    device, threads, runtime, precision : what the latency was measured on and with.
    note : what a reader has to know in order not to misread the row.
    deviation : why our own count of parameters or multiply-adds is more than 3 % off this row's.
    """

    model: Text
    printed_as: Text
    where: Text
    source: Text
    input_resolution: Resolution | None = None
    top1: Positive | None = None
    coco_map: Positive | None = None
    miou: Positive | None = None
    params_m: Positive | None = None
    madds_m: Positive | None = None
    flop_m: Positive | None = None
    latency_ms: Positive | None = None
    device: Text | None = None
    threads: Count | None = None
    runtime: Text | None = None
    precision: Precision = "float32"
    note: str = ""
    deviation: str = ""

    def __post_init__(self) -> None:
        """Refuse a latency of no device, a row of no value and a deviation from no count."""
        if (self.latency_ms is None) != (self.device is None):
            raise ValueError("latency_ms and device go together")
        if all(getattr(self, name) is None for name in _VALUES):
            raise ValueError(f"a figure needs {', '.join(_VALUES[:-1])} or {_VALUES[-1]}")
        if self.deviation and self.params_m is None and self.madds_m is None:
            raise ValueError("a deviation needs params_m or madds_m")

    @property
    def setting(self) -> tuple[object, ...]:
        """What two rows must share for their latencies to be comparable within a paper."""
        return (self.where, self.device, self.threads, self.runtime, self.precision)


class PaperFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of one file: the paper and its figures, in the order of the file.

    Attributes
    ----------
    authors : as cited, such as ``Sandler et al.``
    year : of the first version on arXiv.
    """

    title: Text
    authors: Text
    year: int
    figures: tuple[Figure, ...] = msgspec.field(name="figure")

    def __post_init__(self) -> None:
        """Refuse two rows of one network in one setting, which would leave a ratio undecided."""
        seen = set()
        for figure in self.figures:
            key = (figure.model, figure.setting)
            if key in seen:
                raise ValueError(f"{figure.model} stands twice in {figure.where}")
            seen.add(key)


class Paper(PaperFile, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A paper with its arXiv number, which is the stem of its file."""

    arxiv: Text

    @property
    def citation(self) -> str:
        """Authors, year and arXiv number: ``Sandler et al. 2018, arXiv 1801.04381``."""
        return f"{self.authors} {self.year}, arXiv {self.arxiv}"


def load_papers(folder: Path = FIGURES) -> list[Paper]:
    """Load every paper of `folder`, sorted by arXiv number, that is oldest first.

    Raises
    ------
    UsageError
        The folder is missing or a file is faulty; the message names the file.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder of published figures.")
    return [_load_paper(path) for path in sorted(folder.glob("*.toml"))]


def figures_of(model: str, papers: Iterable[Paper]) -> list[tuple[Paper, Figure]]:
    """Return the figures of `model` in all `papers`, each with its paper; none if unknown."""
    return [(paper, row) for paper in papers for row in paper.figures if row.model == model]


def _load_paper(path: Path) -> Paper:
    content = read_toml(path, PaperFile)
    return Paper(arxiv=path.stem, **msgspec.structs.asdict(content))
