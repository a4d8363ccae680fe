"""`benchmarks/model.py` without measuring: what it makes of measured and estimated times."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import model as benchmark
from model import FEWEST, FITTED, HELD_BACK, Compared, Point

from edgetvm.paper.estimate import Estimate


def points(estimates: list[float]) -> list[Point]:
    return [Point("conv2d", 1.0 + place, estimate) for place, estimate in enumerate(estimates)]


def test_a_perfect_order_has_no_regret() -> None:
    (row,) = benchmark.rows_of("squeezenet", points([2.0 * place for place in range(1, 9)]))
    assert row.correlation == pytest.approx(1)
    assert row.regret == 1
    assert row.candidates == FEWEST


def test_regret_is_what_the_liked_candidate_takes_over_the_best() -> None:
    (row,) = benchmark.rows_of("squeezenet", points([5, 6, 1, 7, 8, 9, 10, 11]))
    assert row.regret == 3
    assert row.correlation == pytest.approx(1 - 6 * (1 + 1 + 4) / (8 * 63))


def test_a_task_of_few_candidates_is_left_out() -> None:
    assert not list(benchmark.rows_of("squeezenet", points([1.0] * (FEWEST - 1))))


def test_networks_fitted_to_and_held_back_are_told_apart(
    capsys: pytest.CaptureFixture[str],
) -> None:
    good, bad = ([*range(1, 9)], [*range(8, 0, -1)])
    rows = [
        *benchmark.rows_of(FITTED[0], points(good)),
        *benchmark.rows_of(HELD_BACK[0], points(bad)),
    ]
    benchmark.print_table(rows, [(0.1, 0.1)])
    printed = capsys.readouterr().out
    assert (
        "fitted: 8 candidates of 1 tasks, median rank correlation 1.00, median regret 1.00"
        in printed
    )
    assert (
        "held back: 8 candidates of 1 tasks, median rank correlation -1.00, median regret 8.00"
        in printed
    )
    assert not set(FITTED) & set(HELD_BACK)


def test_the_worst_and_the_median_of_the_tuned_networks_are_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def compared(slower: float, faster: float) -> Compared:
        ratios = (Estimate(value=one, low=one - 0.1, high=one + 0.1) for one in (slower, faster, 2))
        return Compared("squeezenet", 2.0, 1.8, *ratios, 2.5)

    benchmark.print_compared([compared(1.1, 1.9), compared(1.2, 1.4), compared(1.0, 3.0)])
    printed = capsys.readouterr().out
    assert "untuned / roofline" in printed
    assert "1.20 (1.10 to 1.30)" in printed
    assert (
        "3 networks: model / measured 1.10 in the median, at most 1.20; untuned / model 1.90 in "
        "the median, at least 1.40" in printed
    )
