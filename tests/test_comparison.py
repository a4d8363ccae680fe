"""Measured runs beside the papers, on planted samples."""

import csv
import io

import msgspec
import numpy as np
import pytest

from edgetvm.errors import UsageError
from edgetvm.measurement import Measurement, Run
from edgetvm.paper.comparison import Comparison, PairComparison, compare
from edgetvm.paper.evidence import NetworkEvidence
from edgetvm.paper.figures import Figure, Paper, load_papers
from edgetvm.paper.table import figure_rows, latency_rows, ratio_rows, to_csv, to_markdown
from tests.planted import STATE, device_info

PAPERS = load_papers()
CPU = "Planted CPU"


def measurement(median_s: float, seed: int = 0, threads: int = 1) -> Measurement:
    """Return 30 samples that scatter by 1 % around `median_s`."""
    scatter = np.random.default_rng(seed).normal(1.0, 0.01, 30)
    samples = tuple(float(value) for value in median_s * scatter / np.median(scatter))
    return Measurement(samples_s=samples, number=10, threads=threads, runtime="tvm")


def make_run(
    model: str, tuned_s: float = 0.010, *, threads: int = 1, cpu: str = CPU, **changes: object
) -> Run:
    seed = sum(model.encode())
    run = Run(
        model=model,
        target="planted",
        bundle_id="0" * 16,
        measured_at="2025-01-01T00:00:00Z",
        device=device_info(cpu, arch="x86_64"),
        relative_error=1.5e-6,
        estimate_s=0.8 * tuned_s,
        at_build_s=1.1 * tuned_s,
        tuned_tasks=20,
        tasks=21,
        before=STATE,
        after=STATE,
        tuned=measurement(tuned_s, seed, threads),
        untuned=measurement(3 * tuned_s, seed + 1, threads),
        reference=msgspec.structs.replace(measurement(2 * tuned_s, seed + 2), runtime="PyTorch"),
    )
    return msgspec.structs.replace(run, **changes)


def only_pair(comparison: Comparison) -> PairComparison:
    [pair] = comparison.pairs
    return pair


def paper(arxiv: str, *figures: Figure) -> Paper:
    return Paper(title="A paper", authors="Author", year=2020, arxiv=arxiv, figures=figures)


def figure(model: str, where: str = "Table 1", **values: object) -> Figure:
    fields = {"model": model, "printed_as": model, "where": where, "source": "the paper"}
    return msgspec.convert({**fields, **values}, Figure)


def test_medians_and_speedup_of_a_run_carry_intervals():
    [one] = compare([make_run("mobilenet_v2", 0.010)], PAPERS).models
    assert one.reference is not None
    planted = ((one.tuned, 0.010), (one.untuned, 0.030), (one.reference, 0.020), (one.speedup, 3))
    for estimate, value in planted:
        assert estimate.low < value < estimate.high
        assert estimate.value == pytest.approx(value)
    assert (one.tuned_tasks, one.tasks, one.relative_error) == (20, 21, 1.5e-6)
    assert (one.estimate_s, one.at_build_s) == pytest.approx((0.008, 0.011))


def test_figures_with_a_latency_come_first_and_are_marked_as_of_another_device():
    [one] = compare([make_run("mobilenet_v2")], PAPERS).models
    first = one.published[0]
    assert (first.figure.where, first.figure.latency_ms, first.match) == (
        "Table 4",
        75,
        "other device",
    )
    last = one.published[-1]
    assert (last.figure.latency_ms, last.match) == (None, None)


def test_figure_of_our_own_cpu_is_of_the_same_core():
    papers = [paper("1", figure("net", latency_ms=5, device=CPU))]
    [one] = compare([make_run("net")], papers).models
    assert one.published[0].match == "same core"


def test_pair_has_the_ratio_of_one_table_and_one_device():
    runs = [make_run("mobilenet_v2", 0.010), make_run("mobilenet_v2_1.4", 0.018)]
    pair = only_pair(compare(runs, PAPERS))
    assert (pair.slower, pair.faster) == ("mobilenet_v2_1.4", "mobilenet_v2")
    assert pair.ratio.low < 1.8 < pair.ratio.high
    table, readme = pair.published
    assert (table.basis, table.where, table.precision) == ("latency", ("Table 4",), "float32")
    assert table.ratio == pytest.approx(143 / 75)
    assert table.device == "Google Pixel 1, one large core"
    assert readme.ratio == pytest.approx(138 / 73.8)


def test_latencies_of_different_settings_make_no_ratio():
    timed = {"latency_ms": 10, "device": "A phone", "threads": 1}
    base = figure("large", **timed)
    others = (
        figure("small", **{**timed, "device": "B phone"}),
        figure("small", "Table 2", **timed),
        figure("small", **{**timed, "threads": 4}),
        figure("small", **timed, precision="int8"),
    )
    runs = [make_run("large", 0.02), make_run("small", 0.01)]
    assert only_pair(compare(runs, [paper("1", base, *others)])).published == ()
    assert only_pair(compare(runs, [paper("1", base), paper("2", others[0])])).published == ()


def test_pair_without_latencies_has_multiply_adds_and_says_when_two_papers_count():
    runs = [make_run("squeezenet", 0.02), make_run("mobilenet_v2", 0.01)]
    [ratio] = only_pair(compare(runs, PAPERS)).published
    assert ratio.basis == "multiply-adds"
    assert ratio.ratio == pytest.approx(833 / 300)
    assert len(ratio.papers) == len(ratio.where) == 2
    assert ratio.device is None
    [row] = ratio_rows(compare(runs, PAPERS))
    assert row["Ratio of"] == "multiply-adds, two papers"


def test_multiply_adds_of_one_table_go_before_those_of_two_tables_or_papers():
    first = paper("1", figure("large", madds_m=900))
    second = paper(
        "2",
        figure("large", "Table 1", madds_m=500),
        figure("large", "Table 2", madds_m=400),
        figure("small", "Table 2", madds_m=100),
    )
    runs = [make_run("large", 0.02), make_run("small", 0.01)]
    [ratio] = only_pair(compare(runs, [first, second])).published
    assert (ratio.ratio, ratio.where, ratio.papers) == (4, ("Table 2",), (second.citation,))


def test_operations_stand_in_only_for_one_another():
    runs = [make_run("squeezenet", 0.02), make_run("squeezenet_1.1", 0.01)]
    [ratio] = only_pair(compare(runs, PAPERS)).published
    assert ratio.basis == "operations"
    assert ratio.ratio == pytest.approx(1.72 / 0.72)
    runs = [make_run("mobilenet_v2", 0.02), make_run("squeezenet_1.1", 0.01)]
    assert only_pair(compare(runs, PAPERS)).published == ()


def test_pair_of_unpublished_networks_has_our_ratio_only():
    comparison = compare([make_run("mine", 0.02), make_run("yours", 0.01)], PAPERS)
    assert only_pair(comparison).published == ()
    [row] = ratio_rows(comparison)
    assert row["Published ratio"] == "-"
    assert row["Our latency ratio"].startswith("2.00 (")


def test_paper_latency_never_enters_our_estimates():
    runs = [make_run("mobilenet_v2", 0.010), make_run("mobilenet_v2_1.4", 0.018)]
    alone, beside = compare(runs, []), compare(runs, PAPERS)
    assert only_pair(alone).ratio == only_pair(beside).ratio
    for one, other in zip(alone.models, beside.models, strict=True):
        assert msgspec.structs.replace(other, published=()) == one


def test_pairs_need_one_target_one_cpu_and_as_many_threads():
    base = make_run("a")
    assert compare([base, make_run("b", threads=2)], []).pairs == ()
    assert compare([base, make_run("b", cpu="Another CPU")], []).pairs == ()
    assert compare([base, make_run("b", target="elsewhere")], []).pairs == ()
    assert len(compare([base, make_run("b"), make_run("c")], []).pairs) == 3


def test_newest_run_of_a_network_counts_and_order_of_runs_does_not():
    old = make_run("a", 0.5)
    new = make_run("a", 0.010, measured_at="2025-02-01T00:00:00Z")
    runs = [new, make_run("b"), old]
    comparison = compare(runs, PAPERS)
    assert comparison == compare(runs[::-1], PAPERS)
    assert [one.model for one in comparison.models] == ["a", "b"]
    assert comparison.models[0].tuned.value == pytest.approx(0.010)


def test_single_sample_is_refused():
    single = Measurement(samples_s=(0.01,), number=1, threads=1, runtime="tvm")
    with pytest.raises(UsageError, match=r"run of net on planted .* fewer than 2 samples"):
        compare([make_run("net", tuned=single)], [])


def test_equal_samples_give_an_interval_of_no_width():
    steady = Measurement(samples_s=(0.01,) * 5, number=1, threads=1, runtime="tvm")
    [one] = compare([make_run("net", tuned=steady, untuned=steady)], []).models
    assert (one.speedup.low, one.speedup.value, one.speedup.high) == (1, 1, 1)


def test_latency_row_reads_in_milliseconds():
    [row] = latency_rows(compare([make_run("net", 0.0125)], []))
    assert row["Tuned"].startswith("12.5 ms (12.")
    assert row["Reference runtime"] == "PyTorch, threads: 1"
    assert row["Tuned tasks"] == "20/21"
    [row] = latency_rows(compare([make_run("net", reference=None)], []))
    assert (row["Reference"], row["Reference runtime"]) == ("-", "-")


def test_figure_rows_keep_the_printed_digits_and_mark_the_other_device():
    rows = figure_rows(compare([make_run("mobilenet_v2"), make_run("squeezenet")], PAPERS))
    assert (rows[0]["Latency"], rows[0]["Beside ours"]) == ("75 ms", "other device")
    assert rows[0]["Our latency"].startswith("10.0 ms (")
    assert rows[0]["Where"] == "Table 4"
    assert (rows[-1]["Latency"], rows[-1]["Beside ours"]) == ("-", "-")
    assert (rows[-1]["Our latency"], rows[-1]["Our device"]) == ("-", "-")


def test_figures_have_our_counts_beside_theirs_where_a_bundle_counted():
    network = NetworkEvidence(
        model="mobilenet_v2", parameters=3_504_872, multiply_adds=300_774_272, library_bytes=1
    )
    runs = [make_run("mobilenet_v2"), make_run("squeezenet")]
    rows = figure_rows(compare(runs, PAPERS, {("planted", "mobilenet_v2"): network}))
    assert (rows[0]["Parameters"], rows[0]["Our parameters"]) == ("3.4 M", "3.50 M")
    assert (rows[0]["Multiply-adds"], rows[0]["Our multiply-adds"]) == ("300 M", "300.8 M")
    assert rows[-1]["Our parameters"] == "-"


def test_settings_share_the_figures_that_have_no_latency():
    runs = [make_run("mobilenet_v2"), make_run("mobilenet_v2", threads=2)]
    rows = figure_rows(compare(runs, PAPERS))
    untimed = [row for row in rows if row["Latency"] == "-"]
    assert len(untimed) == len({tuple(row.items()) for row in untimed})
    assert {row["Our threads"] for row in rows if row["Where"] == "Table 4"} == {"1", "2"}


def test_same_rows_go_to_markdown_and_csv():
    comparison = compare([make_run("mobilenet_v2"), make_run("mobilenet_v2_1.4")], PAPERS)
    for rows in (latency_rows(comparison), figure_rows(comparison), ratio_rows(comparison)):
        assert len({tuple(row) for row in rows}) == 1
        assert list(csv.DictReader(io.StringIO(to_csv(rows)))) == rows
        lines = to_markdown(rows).splitlines()
        assert len(lines) == len(rows) + 2
        assert lines[0] == f"| {' | '.join(rows[0])} |"


def test_markdown_escapes_its_separator_and_no_rows_give_no_table():
    assert r"a\|b" in to_markdown([{"Note": "a|b"}])
    assert to_markdown([]) == to_csv([]) == ""
