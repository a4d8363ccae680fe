"""Whether a claim holds, on planted runs, counts and profiles."""

import msgspec
import pytest

from edgetvm.layer_profile import Layer, LayerProfile
from edgetvm.measurement import Measurement, Run
from edgetvm.paper.claim_check import RatioCheck, check_claims, judge_ratio
from edgetvm.paper.claims import Claim, ClaimedRatio, load_claims
from edgetvm.paper.comparison import Comparison
from edgetvm.paper.estimate import Estimate
from edgetvm.paper.evidence import NetworkEvidence, TargetEvidence
from edgetvm.paper.figures import load_papers
from edgetvm.paper.table import claim_rows
from tests.planted import device_info
from tests.test_comparison import make_run

PAPERS = load_papers()
PHONE = {"quantity": "latency", "device": "A phone", "threads": 1}


def ratio(**values: object) -> ClaimedRatio:
    fields = {**PHONE, "numerator": "slow", "denominator": "fast", "values": [20, 10]}
    given = {key: value for key, value in {**fields, **values}.items() if value is not None}
    return msgspec.convert(given, ClaimedRatio)


def claim(*ratios: ClaimedRatio) -> Claim:
    return Claim(
        id="C01", says="It is.", where="Table 1", source="it", ratios=ratios, arxiv="1801.04381"
    )


def network(
    model: str,
    *runs: Run,
    multiply_adds: int = 100_000_000,
    parameters: int = 1_000_000,
    library_bytes: int = 4_000_000,
    profile: LayerProfile | None = None,
) -> NetworkEvidence:
    return NetworkEvidence(
        model=model,
        parameters=parameters,
        multiply_adds=multiply_adds,
        library_bytes=library_bytes,
        runs=runs,
        profile=profile,
    )


def on_target(*networks: NetworkEvidence, target: str = "planted") -> TargetEvidence:
    return TargetEvidence(
        target=target, argument="host", networks={one.model: one for one in networks}
    )


def check(asked: ClaimedRatio, *evidence: TargetEvidence) -> list[RatioCheck]:
    return list(check_claims([claim(asked)], PAPERS, evidence))


def tuned_run(model: str, tuned_s: float = 0.01, **changes: object) -> Run:
    return make_run(model, tuned_s, **{"tuned_tasks": 21, **changes})


@pytest.mark.parametrize(
    ("expects", "interval", "outcome"),
    [
        ("about", (1.95, 2.05), "reproduced"),
        ("about", (1.70, 1.81), "reproduced"),  # reaches into 1.8 to 2.2
        ("about", (2.19, 2.40), "reproduced"),
        ("about", (1.50, 1.79), "partly"),
        ("about", (2.21, 2.60), "partly"),
        ("about", (0.99, 1.20), "not reproduced"),  # may be as slow
        ("about", (0.60, 0.70), "not reproduced"),
        ("at least", (9.0, 9.5), "reproduced"),
        ("at least", (1.5, 1.7), "partly"),
        ("at most", (0.4, 0.5), "reproduced"),
        ("at most", (2.3, 2.5), "partly"),
        ("about", (0.9, 2.1), "undecided"),
        ("at least", (0.9, 5.0), "undecided"),
        ("at most", (0.9, 2.1), "reproduced"),
    ],
)
def test_outcome_by_the_interval(expects, interval, outcome) -> None:
    low, high = interval
    ours = Estimate(value=(low + high) / 2, low=low, high=high)
    assert judge_ratio(ratio(expects=expects), ours) == outcome


def test_outcome_below_one_and_of_parity() -> None:
    ours = Estimate(value=0.6, low=0.59, high=0.61)
    assert judge_ratio(ratio(values=None, value=0.8), ours) == "partly"
    assert judge_ratio(ratio(values=None, value=0.6), ours) == "reproduced"
    wide = Estimate(value=0.8, low=0.6, high=1.1)
    assert judge_ratio(ratio(values=None, value=0.8), wide) == "undecided"
    assert judge_ratio(ratio(values=None, value=0.98), wide) == "reproduced"
    # Where the paper has both as fast, there is no direction that could hold.
    assert judge_ratio(ratio(values=None, value=0.98), ours) == "not reproduced"


def test_tolerance_is_the_claims() -> None:
    ours = Estimate(value=1.5, low=1.5, high=1.5)
    assert judge_ratio(ratio(tolerance=0.3), ours) == "reproduced"
    assert judge_ratio(ratio(tolerance=0.03), ours) == "partly"


def test_a_ratio_of_latencies_has_an_interval_and_its_setting() -> None:
    target = on_target(
        network("slow", tuned_run("slow", 0.02)), network("fast", tuned_run("fast", 0.01))
    )
    [found] = check(ratio(), target)
    assert found.outcome == "reproduced"
    assert found.ours is not None
    assert found.ours.low < 2 < found.ours.high
    assert (found.target, found.device, found.threads) == ("planted", "Planted CPU", 1)
    assert (found.match, found.remark, found.doubts) == ("other device", "", ())


def test_what_differs_is_said_in_numbers() -> None:
    target = on_target(
        network("slow", tuned_run("slow", 0.03, threads=2), multiply_adds=300_000_000),
        network("fast", tuned_run("fast", 0.02, threads=2, tuned_tasks=5)),
    )
    [found] = check(ratio(), target)
    assert found.outcome == "partly"
    assert found.remark == (
        "fast has 5 of 21 tasks tuned, threads: 2 here, 1 there, another device: a multiply-add of "
        "slow takes 0.50 times as long as one of fast here, and 0.67 times there (here 10 and "
        "5 G/s; there 15 and 10 G/s)."
    )


def test_an_undecided_ratio_says_how_to_decide_it() -> None:
    samples = tuple(0.009 + 0.0008 * n for n in range(30))
    wild = Measurement(samples_s=samples, number=1, threads=1, runtime="tvm")
    target = on_target(
        network("slow", tuned_run("slow", tuned=wild)),
        network("fast", tuned_run("fast", tuned=wild)),
    )
    [found] = check(ratio(values=None, value=1.2), target)
    assert found.outcome == "undecided"
    command = "python -m edgetvm.deploy slow fast --target planted --threads 1 --together"
    assert found.remark.endswith(command)
    assert found.doubts


def test_rates_of_a_paper_that_prints_the_ratio_alone_are_left_out() -> None:
    target = on_target(
        network("slow", tuned_run("slow", 0.01)), network("fast", tuned_run("fast", 0.01))
    )
    [found] = check(ratio(values=None, value=2.0), target)
    assert found.outcome == "not reproduced"
    assert found.remark.endswith("(here 10 and 10 G/s).")


def test_of_several_numbers_of_threads_the_papers_is_taken_else_the_lowest() -> None:
    def both(*threads: int) -> TargetEvidence:
        return on_target(
            network("slow", *(tuned_run("slow", 0.02, threads=n) for n in threads)),
            network("fast", *(tuned_run("fast", 0.01, threads=n) for n in threads)),
        )

    assert [one.threads for one in check(ratio(), both(4, 1, 2))] == [1]
    assert [one.threads for one in check(ratio(), both(4, 2))] == [2]
    assert [one.threads for one in check(ratio(threads=4), both(4, 2))] == [4]


def test_newest_run_counts_and_every_device_has_an_outcome() -> None:
    old = tuned_run("slow", 0.05, measured_at="2024-01-01T00:00:00Z")
    other = [tuned_run(model, 0.01, cpu="Other CPU") for model in ("slow", "fast")]
    target = on_target(
        network("slow", tuned_run("slow", 0.02), old, other[0]),
        network("fast", tuned_run("fast", 0.01), other[1]),
    )
    found = {one.device: one.outcome for one in check(ratio(), target)}
    assert found == {"Planted CPU": "reproduced", "Other CPU": "not reproduced"}


def test_a_run_that_is_not_valid_is_used_and_flagged() -> None:
    noisy = tuned_run("fast", 0.01, others_busy=1.5)
    target = on_target(network("slow", tuned_run("slow", 0.02)), network("fast", noisy))
    [found] = check(ratio(), target)
    assert found.outcome == "reproduced"
    assert found.doubts == ("fast: noisy: other programs kept 1.5 cores busy",)


def test_a_network_in_half_precision_is_flagged() -> None:
    half = msgspec.structs.replace(network("fast", tuned_run("fast", 0.01)), precision="float16")
    [found] = check(ratio(), on_target(network("slow", tuned_run("slow", 0.02)), half))
    assert found.doubts == ("fast: float16",)


def test_emulated_runs_answer_nothing() -> None:
    emulated = msgspec.structs.replace(device_info("QEMU"), emulated="QEMU")
    runs = [tuned_run(model, 0.01, device=emulated) for model in ("slow", "fast")]
    [found] = check(ratio(), on_target(*(network(run.model, run) for run in runs)))
    assert found.outcome == "not measured"


def test_what_is_missing_is_named_with_its_command() -> None:
    [found] = check(ratio(), on_target(network("fast")))
    assert found.outcome == "not measured"
    assert found.remark == "no bundle of slow: python -m edgetvm.tune slow --target host"
    apart = on_target(
        network("slow", tuned_run("slow", 0.02, threads=1)),
        network("fast", tuned_run("fast", 0.01, threads=2)),
    )
    [found] = check(ratio(), apart)
    command = "python -m edgetvm.deploy slow fast --target planted --threads 1"
    assert (found.outcome, found.remark) == ("not measured", f"not run together: {command}")


def test_what_is_not_testable_says_why_and_needs_no_evidence() -> None:
    [found] = check(ratio(not_testable="it is 8-bit"), on_target())
    assert (found.outcome, found.remark) == ("not testable", "it is 8-bit")


@pytest.mark.parametrize(
    ("quantity", "expected"), [("multiply-adds", 3), ("parameters", 2), ("file size", 5)]
)
def test_counts_come_from_bundles(quantity, expected) -> None:
    target = on_target(
        network("slow", multiply_adds=300_000_000, parameters=2_000_000, library_bytes=20_000_000),
        network("fast"),
    )
    asked = ratio(quantity=quantity, device=None, threads=None, values=None, value=expected)
    [found] = check(asked, on_target(network("slow"), target="poorer"), target)
    assert found.outcome == "reproduced"
    assert found.ours == Estimate(value=expected, low=expected, high=expected)
    assert found.target == "planted"
    assert check(asked, on_target(network("slow")))[0].outcome == "not measured"


def test_a_count_that_differs_has_the_reason_of_its_figure() -> None:
    espnet, later = "espnet", "espnetv2_segmentation_2.0"
    asked = ratio(
        quantity="multiply-adds",
        device=None,
        threads=None,
        numerator=espnet,
        denominator=later,
        values=[4500, 2700],
    )
    target = on_target(
        network(espnet, multiply_adds=10_000_000_000), network(later, multiply_adds=2_700_000_000)
    )
    [found] = check(asked, target)
    assert found.outcome == "partly"
    assert "espnet: Without the transposed convolutions it is 4434 million." in found.remark


def profile(**seconds: float) -> LayerProfile:
    names = {"pointwise": "conv2d 1x1/1 8->4x4x8+clip", "depthwise": "conv2d 3x3/1 4x4x8 depthwise"}
    layers = tuple(
        Layer(
            name=names[kind],
            function=kind,
            flop={"pointwise": 950, "depthwise": 50}[kind],
            moved_bytes=1,
            is_tuned=True,
            seconds=time_s,
        )
        for kind, time_s in seconds.items()
    )
    return LayerProfile(
        model="net",
        target="planted",
        bundle_id="0",
        measured_at="2025-01-01T00:00:00Z",
        device=device_info("Planted CPU"),
        threads=1,
        layers=layers,
        network_s=sum(seconds.values()),
        roofline=None,
    )


SHARE = msgspec.convert(
    {"quantity": "time in 1x1 convolutions", "numerator": "net", "value": 0.95}, ClaimedRatio
)


@pytest.mark.parametrize(
    ("pointwise_s", "outcome"), [(0.9, "reproduced"), (0.7, "partly"), (0.4, "not reproduced")]
)
def test_share_of_time_is_of_the_profile(pointwise_s, outcome) -> None:
    one = profile(pointwise=pointwise_s, depthwise=1 - pointwise_s)
    [found] = check(SHARE, on_target(network("net", profile=one)))
    assert found.outcome == outcome
    assert found.ours is not None
    assert found.ours.value == pytest.approx(pointwise_s)
    if outcome != "reproduced":
        assert "have 95% of the operations and take" in found.remark
    [found] = check(SHARE, on_target(network("net")))
    assert found.remark.endswith("python -m edgetvm.profile net --target planted")


def test_every_claim_of_the_papers_has_an_outcome_and_a_row() -> None:
    claims = load_claims()
    target = on_target(
        network("mobilenet_v1", tuned_run("mobilenet_v1", 0.0113), multiply_adds=568_740_352),
        network("mobilenet_v2", tuned_run("mobilenet_v2", 0.0063), multiply_adds=300_774_272),
    )
    checks = check_claims(claims, PAPERS, [target])
    assert len(checks) == sum(len(one.ratios) for one in claims)
    assert {one.claim for one in checks} == {one.id for one in claims}
    rows = claim_rows(Comparison(models=(), pairs=(), claims=checks))
    assert len({tuple(row) for row in rows}) == 1
    latency, counts = (row for row in rows if row["Claim"] == "C06")
    assert latency["Published"] == "1.51"
    assert latency["Ours"].startswith("1.79 (")
    assert latency["Outcome"] == "partly"
    assert "a multiply-add of mobilenet_v1 takes 0.95 times" in latency["Why"]
    assert (counts["Ours"], counts["Outcome"]) == ("1.89", "reproduced")
    assert counts["Why"] == "In latency it is 1.79 on Planted CPU, threads: 1."
    [row, *_] = (row for row in rows if row["Claim"] == "C15")
    assert (row["Outcome"], row["Ours"]) == ("not testable", "-")
