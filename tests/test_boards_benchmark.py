"""`benchmarks/boards.py` without estimating: which latencies it takes, and what comes of them."""

import re
import sys
from pathlib import Path

import pytest

from edgetvm.stages.cycles.cycle_model import CycleModel
from edgetvm.stages.host_target import resolve_target
from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

import boards as benchmark
from boards import Point, Published


def point(published_ms: float, estimated_ms: float, runtime: str = "TVM AutoTVM") -> Point:
    times = (published_ms / 1e3, estimated_ms / 1e3)
    return Point("mobilenet_v2", "a board", "rasp4b", "cortex-a72", 4, runtime, *times)


def test_every_latency_is_of_a_board_with_a_64_bit_cpu_profile() -> None:
    found = benchmark.published()
    assert (
        found[Published("mobilenet_v2", "Google Pixel 1, one large core", "pixel1", 1, "TF-Lite")]
        == 0.075
    )
    kirin = Published(
        "mobilenet_v2", "Huawei P20 Pro (Kirin970 4xA73 2.36GHz)", "hikey960", 4, "TVM AutoTVM"
    )
    assert found[kirin] == pytest.approx((34.5 + 33.4) / 2 / 1e3)  # published twice
    targets = {one.target for one in found}
    assert {"pixel1", "rasp3b", "rasp4b", "rk3399"} <= targets
    assert not targets & {"mali_t860", "rasp3b_32"}


def test_errors_are_relative_to_what_was_published(tmp_path: Path) -> None:
    points = [point(100, 80), point(100, 130), point(50, 50, "XNNPACK")]
    assert [benchmark.error(one) for one in points] == pytest.approx([0.2, 0.3, 0])
    errors = {row["points"]: row["median absolute error"] for row in benchmark.summaries(points)}
    assert errors.pop("TVM") == "25%"
    assert errors.pop("XNNPACK") == "0%"
    assert set(errors) == {"all", "cortex-a72", "threads: 4"}
    assert set(errors.values()) == {"20%"}
    page = tmp_path / "boards.md"
    benchmark.write_page(points, page)
    assert "Nine of ten are 0.79 to 1.2" in page.read_text()
    assert page.read_text().count("| a board |") == 3


def test_the_scatter_plot_names_the_cores(tmp_path: Path) -> None:
    path = tmp_path / "boards.svg"
    points = [point(100, 80), point(50, 50)]
    benchmark.draw(points, path)
    drawn = path.read_text()
    assert "cortex-a72" in drawn
    benchmark.draw(points, path)
    assert path.read_text() == drawn


def test_estimates_are_shown_with_the_band_that_was_found() -> None:
    page = (ROOT / "docs" / "boards.md").read_text()
    found = re.search(r"Nine of ten are ([\d.]+) to ([\d.]+) times", page)
    assert found
    low, high = (round(float(one), 1) for one in found.groups())
    for target in {one.target for one in benchmark.published()}:
        model = CycleModel(resolve_target(target, ROOT / "targets"), threads=1)
        assert model.core.band == (low, high)
    assert f"between {low} and {high} times such an estimate" in (ROOT / "README.md").read_text()
