"""The claims as data: all are there, fit figures and networks, and faulty files are refused."""

from pathlib import Path

import pytest

from edgetvm.errors import UsageError
from edgetvm.paper.claims import CLAIMS, TIME_IN_1X1, load_claims
from edgetvm.paper.figures import load_papers
from edgetvm.recipe import load_recipes

ALL = load_claims()
PAPERS = load_papers()
FIGURES = [figure for paper in PAPERS for figure in paper.figures]
RECIPES = load_recipes(Path(__file__).parent.parent / "compile")
RATIOS = [(claim.id, ratio) for claim in ALL for ratio in claim.ratios]
FIELDS = {"latency": "latency_ms", "multiply-adds": "madds_m"}

FILE = """
[[claim]]
id = "C01"
says = "One is faster."
where = "Table 1"
source = "the paper"

[[claim.ratio]]
quantity = "latency"
numerator = "slow"
denominator = "fast"
values = [20, 10]
device = "A phone"
threads = 1
"""


def write(folder: Path, content: str, name: str = "2001.00001.toml") -> Path:
    path = folder / name
    path.write_text(content)
    return path


def test_all_claims_are_there_and_of_known_papers() -> None:
    assert [claim.id for claim in ALL] == [f"C{number:02}" for number in range(1, 24)]
    assert {claim.arxiv for claim in ALL} <= {paper.arxiv for paper in PAPERS}
    assert {claim.arxiv for claim in ALL} == {path.stem for path in CLAIMS.glob("*.toml")}


@pytest.mark.parametrize(("claim", "ratio"), RATIOS)
def test_what_can_be_tested_is_of_networks_that_we_build(claim, ratio) -> None:
    assert ratio.not_testable or set(ratio.models) <= set(RECIPES)


@pytest.mark.parametrize(
    ("claim", "ratio"),
    [
        (claim, ratio)
        for claim, ratio in RATIOS
        if ratio.values and not ratio.not_testable and ratio.quantity in FIELDS
    ],
)
def test_printed_values_are_those_of_the_figures(claim, ratio) -> None:
    field = FIELDS[ratio.quantity]
    for model, value in zip(ratio.models, ratio.values, strict=True):
        rows = [row for row in FIGURES if row.model == model and getattr(row, field) is not None]
        if ratio.quantity == "latency":
            rows = [
                row for row in rows if (row.device, row.threads) == (ratio.device, ratio.threads)
            ]
        # "0.76 billion" is 759.52 million elsewhere.
        assert any(getattr(row, field) == pytest.approx(value, rel=1e-3) for row in rows), model


def test_ratios_are_those_of_the_papers() -> None:
    published = {claim.id: [round(one.published, 2) for one in claim.ratios] for claim in ALL}
    assert published["C01"] == [5.65]
    assert published["C02"] == [12.11, 13.23, 13.97, 18.95]
    assert published["C06"] == [1.51, 1.92]
    assert published["C08"] == [0.75, 0.54, 0.37, 0.24]
    assert published["C10"] == [0.80, 0.80, 0.79]
    assert published["C22"] == [8.55, 6.98, 0.95]
    assert published["C23"] == [7.0, 1.33, 1.5]


def test_a_share_of_time_is_of_one_network() -> None:
    [share] = [ratio for _, ratio in RATIOS if ratio.quantity == TIME_IN_1X1]
    assert share.models == ("mobilenet_v1",)


def test_file_stem_is_the_arxiv_number(tmp_path: Path) -> None:
    write(tmp_path, FILE)
    [claim] = load_claims(tmp_path)
    assert (claim.id, claim.arxiv, claim.ratios[0].published) == ("C01", "2001.00001", 2.0)
    assert (claim.ratios[0].tolerance, claim.ratios[0].expects) == (0.1, "about")


@pytest.mark.parametrize(
    ("sound", "faulty", "reason"),
    [
        ("says =", "say =", "say"),
        ('id = "C01"', 'id = "1"', "id"),
        ("values = [20, 10]", "", "value or values"),
        ("values = [20, 10]", "values = [20, 10]\nvalue = 2", "value or values"),
        ("values = [20, 10]", "values = [20, 0]", "values"),
        ('denominator = "fast"', "", "denominator"),
        ('quantity = "latency"', 'quantity = "time in 1x1 convolutions"', "denominator"),
        ('device = "A phone"', "", "device"),
        ('quantity = "latency"', 'quantity = "parameters"', "device"),
        ('quantity = "latency"', 'quantity = "energy"', "quantity"),
        ("threads = 1", "tolerance = 1.5", "tolerance"),
        ("threads = 1", 'expects = "nearly"', "expects"),
        (FILE[FILE.index("\n[[claim.ratio]]") :], "", "ratio"),
    ],
)
def test_faulty_file_is_refused_by_name(tmp_path: Path, sound, faulty, reason) -> None:
    assert sound in FILE
    path = write(tmp_path, FILE.replace(sound, faulty))
    with pytest.raises(UsageError, match=reason) as caught:
        load_claims(tmp_path)
    assert str(path) in str(caught.value)


def test_two_claims_of_one_id_are_refused(tmp_path: Path) -> None:
    write(tmp_path, FILE)
    write(tmp_path, FILE, "2001.00002.toml")
    with pytest.raises(UsageError, match=r"2001.00002.toml: there are two claims C01"):
        load_claims(tmp_path)


def test_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="absent is not a folder of claims"):
        load_claims(tmp_path / "absent")
