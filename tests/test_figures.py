"""The figures of the papers: every file is sound, our counts fit, and a faulty file is refused."""

from decimal import Decimal
from pathlib import Path

import pytest

from edgetvm.errors import UsageError
from edgetvm.models.counting import Counts, count
from edgetvm.paper.figures import FIGURES, Figure, figures_of, load_papers
from edgetvm.recipe import load_recipes

PAPERS = load_papers()
ROWS = [(paper.arxiv, figure) for paper in PAPERS for figure in paper.figures]
RECIPES = load_recipes(Path(__file__).parent.parent / "compile")
COUNTED = sorted({row.model for _, row in ROWS if row.params_m or row.madds_m})

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


def deviates(figure: Figure, counts: Counts) -> bool:
    """Return whether `counts` are more than 3 % and, for parameters, half a digit off `figure`."""
    parameters, madds = counts.parameters / 1e6, counts.madds / 1e6
    if figure.params_m is not None:
        half_a_digit = 0.5 * 10 ** Decimal(str(figure.params_m)).as_tuple().exponent
        if abs(parameters - figure.params_m) > max(0.03 * figure.params_m, half_a_digit):
            return True
    return figure.madds_m is not None and abs(madds - figure.madds_m) > 0.03 * figure.madds_m


def write(folder: Path, content: str) -> Path:
    path = folder / "2001.00001.toml"
    path.write_text(content)
    return path


def test_every_file_of_the_folder_is_loaded():
    assert [paper.arxiv for paper in PAPERS] == sorted(path.stem for path in FIGURES.glob("*.toml"))
    assert len(PAPERS) >= 11


@pytest.mark.parametrize(("arxiv", "figure"), ROWS)
def test_every_figure_says_where_it_stands_and_where_it_was_read(arxiv, figure):
    assert figure.where.strip()
    assert figure.source.strip()


def test_every_figure_is_of_a_network_that_we_build_with_its_input():
    for arxiv, figure in ROWS:
        _, _, *built = RECIPES[figure.model].input_shape
        if figure.input_resolution is not None:
            height, _, width = str(figure.input_resolution).partition("x")
            more = (built[0] - int(height), built[1] - int(width or height))
            # Papers have 512 x 1024 for 513 x 1025, and 224 for AlexNet's 227 without padding.
            assert more in {(0, 0), (1, 1), (3, 3)}, (arxiv, figure)


@pytest.mark.slow
@pytest.mark.parametrize("model", COUNTED)
def test_our_counts_are_the_published_ones_or_the_row_says_why_not(model):
    counts = count(RECIPES[model])
    rows = [(arxiv, row) for arxiv, row in ROWS if row.model == model]
    wrong = [
        (arxiv, row.where, counts)
        for arxiv, row in rows
        if deviates(row, counts) != bool(row.deviation)
    ]
    assert wrong == []


def test_deviations_are_three_percent_or_half_a_digit_of_parameters():
    figure = row("1704.04861", "mobilenet_v1_0.75", "Table 5")
    assert (figure.params_m, figure.madds_m) == (2.6, 325)
    assert not deviates(figure, Counts(2_677_000, 334_000_000))
    assert deviates(figure, Counts(2_679_000, 334_000_000))
    assert deviates(figure, Counts(2_677_000, 335_000_000))
    small = row("1704.04861", "mobilenet_v1_0.25", "Table 6")
    assert small.params_m == 0.5
    assert not deviates(small, Counts(451_000, 41_000_000))
    assert deviates(small, Counts(449_000, 41_000_000))


def test_an_accuracy_is_one_of_a_kind_in_percent_and_segmentation_names_its_data():
    data = ("Cityscapes", "PASCAL VOC", "CamVid")
    for arxiv, figure in ROWS:
        accuracies = (figure.top1, figure.coco_map, figure.miou)
        given = [value for value in accuracies if value is not None]
        assert len(given) <= 1, (arxiv, figure)
        assert all(10 < value < 100 for value in given), (arxiv, figure)
        assert figure.miou is None or any(name in figure.note for name in data), (arxiv, figure)


def test_mobilenet_v2_stands_as_in_table_4_of_its_paper():
    figure = row("1801.04381", "mobilenet_v2", "Table 4")
    assert (figure.latency_ms, figure.madds_m, figure.params_m, figure.top1) == (75, 300, 3.4, 72.0)
    assert figure.device == "Google Pixel 1, one large core"
    assert row("1801.04381", "mobilenet_v2_1.4", "Table 4").latency_ms == 143


def test_readme_grid_and_other_papers_are_there():
    assert row("1801.04381", "mobilenet_v2_0.35_96", "official README").latency_ms == 4.5
    assert row("1801.04381", "mobilenet_v2_192", "official README").madds_m == 221
    assert row("1707.01083", "squeezenet", "Table 6").madds_m == 833
    table = [f for p, f in figures_of("mobilenet_v2", PAPERS) if p.arxiv == "1905.02244"]
    assert {f.latency_ms for f in table if f.where == "Table 3"} == {64, 76, 56}
    assert {f.precision for f in table if f.where == "Table 4"} == {"int8"}


def test_the_papers_best_known_latencies_are_there():
    published = [
        row("1707.01083", "alexnet_480x640", "Table 8").latency_ms,
        row("1707.01083", "shufflenet_g3_0.5_480x640", "Table 8").latency_ms,
        row("1905.11946", "resnet_152", "Table 4").latency_ms,
        row("1905.11946", "efficientnet_b1", "Table 4").latency_ms,
        row("1905.02244", "mobilenet_v2_raspp_cityscapes", "Table 7").latency_ms,
        row("1905.02244", "mobilenet_v3_large_lraspp_513x1025", "Table 7").latency_ms,
        row("1801.04381", "mobilenet_v1_ssdlite", "Table 6").latency_ms,
    ]
    assert published == [1156.7, 87.4, 554, 98, 3900, 657, 270]


def test_accuracies_and_oblong_inputs_are_there():
    assert row("1905.02244", "mobilenet_v3_large_ssdlite_reduced", "Table 6").coco_map == 22.0
    segmenter = row("1811.11431", "espnetv2_segmentation_256x512", "EdgeNets model zoo")
    assert (segmenter.miou, segmenter.input_resolution) == (52.2, "256x512")


def test_frames_a_second_are_latencies():
    pspnet = row("1803.06815", "pspnet_101_512x1024", "Figure 6")
    espnet = row("1803.06815", "espnet", "Figure 6")
    assert pspnet.setting == espnet.setting
    assert pspnet.latency_ms / espnet.latency_ms == pytest.approx(112.8 / 5.1, rel=0.01)


@pytest.mark.parametrize(
    ("arxiv", "model", "where", "printed"),
    [
        ("1704.04861", "squeezenet", "Table 9", "1700"),
        ("1905.02244", "mobilenet_v3_large_lraspp_os32", "DeepLab model zoo", "15950"),
    ],
)
def test_operations_counted_apart_are_not_multiply_adds(arxiv, model, where, printed):
    figure = row(arxiv, model, where)
    assert figure.madds_m is None
    assert printed in figure.note


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
        ("madds_m = 100", 'input_resolution = "224"', "input_resolution"),
        ("madds_m = 100", 'deviation = "Rounded."', "params_m or madds_m"),
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
