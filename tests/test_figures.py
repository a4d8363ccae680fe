"""The figures of the papers: every file is sound, and a faulty one is refused."""

from pathlib import Path

import pytest

from edgetvm.errors import UsageError
from edgetvm.paper.figures import FIGURES, Figure, figures_of, load_papers

PAPERS = load_papers()
ROWS = [(paper.arxiv, figure) for paper in PAPERS for figure in paper.figures]

PAPER = """
title = "A paper"
authors = "Author et al."
year = 2020

[[figure]]
model = "small_net"
printed_as = "SmallNet"
where = "Table 1"
source = "the paper"
madds_m = 100
latency_ms = 10
device = "A phone"
"""


def row(arxiv: str, model: str, where: str) -> Figure:
    """Return the one figure of `model` in a table that lists it once."""
    [figure] = [
        figure
        for paper, figure in figures_of(model, PAPERS)
        if paper.arxiv == arxiv and figure.where == where
    ]
    return figure


def write(folder: Path, content: str) -> Path:
    path = folder / "2001.00001.toml"
    path.write_text(content)
    return path


def test_every_file_of_the_folder_is_loaded():
    assert [paper.arxiv for paper in PAPERS] == sorted(path.stem for path in FIGURES.glob("*.toml"))
    assert len(PAPERS) >= 6


@pytest.mark.parametrize(("arxiv", "figure"), ROWS)
def test_every_figure_says_where_it_stands_and_where_it_was_read(arxiv, figure):
    assert figure.where.strip()
    assert figure.source.strip()


def test_model_names_are_those_of_the_naming_scheme():
    for _, figure in ROWS:
        if figure.model.startswith("mobilenet_v2_"):
            width, *resolution = figure.model.removeprefix("mobilenet_v2_").split("_")
            assert float(width) > 0
            assert figure.input_resolution == int(resolution[0] if resolution else 224)
            assert resolution or width != "1.0"
        else:
            assert figure.model in {"mobilenet_v2", "squeezenet", "squeezenet_1.1"}


def test_mobilenet_v2_stands_as_in_table_4_of_its_paper():
    figure = row("1801.04381", "mobilenet_v2", "Table 4")
    assert (figure.latency_ms, figure.madds_m, figure.params_m, figure.top1) == (75, 300, 3.4, 72.0)
    assert figure.device == "Google Pixel 1, one large core"
    assert row("1801.04381", "mobilenet_v2_1.4", "Table 4").latency_ms == 143


def test_readme_grid_and_other_papers_are_there():
    assert row("1801.04381", "mobilenet_v2_0.35_96", "official README").latency_ms == 4.5
    assert row("1801.04381", "mobilenet_v2_1.0_192", "official README").madds_m == 221
    assert row("1707.01083", "squeezenet", "Table 6").madds_m == 833
    table = [f for p, f in figures_of("mobilenet_v2", PAPERS) if p.arxiv == "1905.02244"]
    assert {f.latency_ms for f in table if f.where == "Table 3"} == {64, 76, 56}
    assert {f.precision for f in table if f.where == "Table 4"} == {"int8"}


def test_operations_counted_apart_are_not_multiply_adds():
    figure = row("1704.04861", "squeezenet", "Table 9")
    assert figure.madds_m is None
    assert "1700" in figure.note


def test_unknown_model_has_no_figures():
    assert figures_of("no_such_net", PAPERS) == []


def test_file_stem_is_the_arxiv_number(tmp_path):
    write(tmp_path, PAPER)
    [paper] = load_papers(tmp_path)
    assert paper.citation == "Author et al. 2020, arXiv 2001.00001"
    assert paper.figures[0].precision == "float32"


@pytest.mark.parametrize(
    ("sound", "faulty", "reason"),
    [
        ("latency_ms =", "latncy_ms =", "latncy_ms"),
        ('authors = "Author et al."', 'author = "Author et al."', "author"),
        ('where = "Table 1"', "", "where"),
        ('source = "the paper"', 'source = ""', "source"),
        ("latency_ms = 10", 'latency_ms = "10"', "latency_ms"),
        ("latency_ms = 10", "latency_ms = -10", "latency_ms"),
        ('device = "A phone"', "", "device"),
        ("madds_m = 100\nlatency_ms = 10\n", "", "device"),
        ('madds_m = 100\nlatency_ms = 10\ndevice = "A phone"', "", "madds_m"),
        ("madds_m = 100", 'precision = "fp32"', "precision"),
    ],
)
def test_faulty_file_is_refused_by_name(tmp_path, sound, faulty, reason):
    assert sound in PAPER
    path = write(tmp_path, PAPER.replace(sound, faulty))
    with pytest.raises(UsageError, match=reason) as caught:
        load_papers(tmp_path)
    assert str(path) in str(caught.value)


def test_network_listed_twice_in_one_setting_is_refused(tmp_path):
    write(tmp_path, PAPER + PAPER[PAPER.index("[[figure]]") :])
    with pytest.raises(UsageError, match="small_net stands twice in Table 1"):
        load_papers(tmp_path)


def test_missing_folder_is_refused(tmp_path):
    with pytest.raises(UsageError, match="absent"):
        load_papers(tmp_path / "absent")
