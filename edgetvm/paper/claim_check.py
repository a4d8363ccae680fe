"""Whether the papers' claims hold here: claims and evidence in, an outcome a number out.

The rule, for a published ratio P with a tolerance t (10 % unless the claim says otherwise) and our
95 % interval:

- ``reproduced``: our interval reaches into P (1 - t) to P (1 + t); of a claim "at least" P or "at
  most" P it may also lie beyond.
- ``undecided``: so it does, but the range is on one side of 1 and our interval on both: noise alone
  may have brought it there. For a share of time one half stands in the place of 1.
- ``partly``: the direction holds, the size does not: our interval and the range lie on the same
  side of 1.
- ``not reproduced``: neither.
- ``not measured``: a bundle, a run or a profile is missing, and the remark says which.
- ``not testable``: the claim says why it cannot be measured here.

A latency is compared within one target, device and number of threads. Of several numbers of threads
that of the paper is taken, else the lowest. Counts are those of our bundles and have no device.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import msgspec
from msgspec.structs import replace

from edgetvm.measurement import Run
from edgetvm.paper.claim_reason import (
    count_reason,
    latency_beside,
    latency_reason,
    missing_reason,
    share_in_1x1,
    share_reason,
    undecided_reason,
)
from edgetvm.paper.claims import TIME_IN_1X1, Claim, ClaimedRatio
from edgetvm.paper.devices import Match, match_device
from edgetvm.paper.estimate import Estimate, estimate_ratio
from edgetvm.paper.evidence import NetworkEvidence, TargetEvidence, newest_runs, setting
from edgetvm.paper.figures import Paper
from edgetvm.recipe import FLOAT32

Outcome = Literal[
    "reproduced", "undecided", "partly", "not reproduced", "not measured", "not testable"
]


class RatioCheck(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One number of a claim beside ours.

    Attributes
    ----------
    claim, paper, says, where : the claim's id, its paper's citation, what it says and where.
    ratio : the number as the paper has it.
    target, device, threads : what ours was measured on; None of counts, and of what is missing.
    match : how near the paper's device is; None where either has none.
    ours : our number, with its interval.
    remark : what the difference most likely is, what is missing, or why it is not testable.
    doubts : verdicts on runs that are not valid, each with its network, and precisions other than
        float32, in which the papers measured.
    """

    claim: str
    paper: str
    says: str
    where: str
    ratio: ClaimedRatio
    outcome: Outcome
    target: str | None = None
    device: str | None = None
    threads: int | None = None
    match: Match | None = None
    ours: Estimate | None = None
    remark: str = ""
    doubts: tuple[str, ...] = ()


def check_claims(
    claims: Iterable[Claim], papers: Sequence[Paper], evidence: Sequence[TargetEvidence]
) -> tuple[RatioCheck, ...]:
    """Check every number of `claims`, in their order, on every target and device of `evidence`."""
    citations = {paper.arxiv: paper.citation for paper in papers}
    return tuple(
        checked
        for claim in claims
        for ratio in claim.ratios
        for checked in _check(
            RatioCheck(
                claim=claim.id,
                paper=citations.get(claim.arxiv, f"arXiv {claim.arxiv}"),
                says=claim.says,
                where=claim.where,
                ratio=ratio,
                outcome="not measured",
            ),
            papers,
            evidence,
        )
    )


def judge_ratio(ratio: ClaimedRatio, ours: Estimate) -> Outcome:
    """Judge our number by the rule of this module."""
    low, high = ratio.published * (1 - ratio.tolerance), ratio.published * (1 + ratio.tolerance)
    lowest = -math.inf if ratio.expects == "at most" else low
    highest = math.inf if ratio.expects == "at least" else high
    middle = 0.5 if ratio.quantity == TIME_IN_1X1 else 1.0
    if ours.low <= highest and ours.high >= lowest:
        is_both_sides = ours.low <= middle <= ours.high
        return "undecided" if is_both_sides and not lowest <= middle <= highest else "reproduced"
    is_same_side = min(low, ours.low) > middle or max(high, ours.high) < middle
    return "partly" if is_same_side else "not reproduced"


def _check(
    asked: RatioCheck, papers: Sequence[Paper], evidence: Sequence[TargetEvidence]
) -> Iterator[RatioCheck]:
    """Yield `asked` with its outcomes: one for counts, one a target and device for times."""
    ratio = asked.ratio
    if ratio.not_testable:
        yield replace(asked, outcome="not testable", remark=ratio.not_testable)
    elif ratio.quantity == "latency":
        for target in evidence:
            yield from _check_latency(asked, target)
    elif ratio.quantity == TIME_IN_1X1:
        for target in evidence:
            yield _check_share(asked, target)
    else:
        yield _check_count(asked, papers, evidence)


def _check_latency(asked: RatioCheck, target: TargetEvidence) -> Iterator[RatioCheck]:
    ratio = asked.ratio
    pairs = _pairs(ratio, target)
    if not pairs:
        yield _missing(asked, target)
    for above, below in pairs:
        ours = estimate_ratio(above.tuned, below.tuned)
        outcome = judge_ratio(ratio, ours)
        match = match_device(ratio.device or "", above)
        remark = ""
        if outcome == "undecided":
            remark = undecided_reason(ratio, target)
        elif outcome != "reproduced":
            remark = latency_reason(ratio, (above, below), match, target.networks)
        yield replace(
            asked,
            outcome=outcome,
            target=target.target,
            device=above.device.processor,
            threads=above.tuned.threads,
            match=match,
            ours=ours,
            remark=remark,
            doubts=_doubts((above, below), target),
        )


def _pairs(ratio: ClaimedRatio, target: TargetEvidence) -> list[tuple[Run, Run]]:
    """Return the newest runs of both networks, a pair each device, with the threads that fit."""
    wanted = [run for run in target.runs if run.model in ratio.models]
    by_setting: dict[tuple[str, str, int], dict[str, Run]] = {}
    for run in newest_runs(wanted):
        by_setting.setdefault(setting(run), {})[run.model] = run
    by_device: dict[str, tuple[Run, Run]] = {}
    for (_, device, _), runs in sorted(by_setting.items(), key=lambda one: one[0][2]):
        if len(runs) < len(ratio.models):
            continue
        above, below = (runs[model] for model in ratio.models)
        if device not in by_device or above.tuned.threads == ratio.threads:
            by_device[device] = (above, below)
    return list(by_device.values())


def _doubts(runs: Sequence[Run], target: TargetEvidence) -> tuple[str, ...]:
    against: dict[str, list[str]] = {}
    for run in runs:
        if run.verdict.kind != "valid":
            against.setdefault(str(run.verdict), []).append(run.model)
        if (precision := target.networks[run.model].precision) != FLOAT32:
            against.setdefault(precision, []).append(run.model)
    return tuple(f"{' and '.join(models)}: {doubt}" for doubt, models in against.items())


def _check_share(asked: RatioCheck, target: TargetEvidence) -> RatioCheck:
    network = target.networks.get(asked.ratio.numerator)
    profile = network.profile if network is not None else None
    if profile is None or profile.device.emulated:
        return _missing(asked, target)
    ours = _exactly(share_in_1x1(profile))
    outcome = judge_ratio(asked.ratio, ours)
    return replace(
        asked,
        outcome=outcome,
        target=target.target,
        device=profile.device.processor,
        threads=profile.threads,
        ours=ours,
        remark="" if outcome == "reproduced" else share_reason(profile),
    )


def _check_count(
    asked: RatioCheck, papers: Sequence[Paper], evidence: Sequence[TargetEvidence]
) -> RatioCheck:
    ratio = asked.ratio
    # Both of one target: counts do not depend on it, but the size of a library does.
    complete = [one for one in evidence if set(ratio.models) <= set(one.networks)]
    if not complete:
        return _missing(asked, evidence[0])
    above, below = (complete[0].networks[model] for model in ratio.models)
    ours = _exactly(_count(ratio, above) / _count(ratio, below))
    outcome = judge_ratio(ratio, ours)
    reason = "" if outcome == "reproduced" else count_reason(ratio, papers)
    in_latency = latency_beside(ratio, _pairs(ratio, complete[0]))
    return replace(
        asked,
        outcome=outcome,
        target=complete[0].target,
        ours=ours,
        remark=" ".join(filter(None, (reason, in_latency))),
    )


def _count(ratio: ClaimedRatio, network: NetworkEvidence) -> int:
    counts = {
        "multiply-adds": network.multiply_adds,
        "parameters": network.parameters,
        "file size": network.library_bytes,
    }
    return counts[ratio.quantity]


def _missing(asked: RatioCheck, target: TargetEvidence) -> RatioCheck:
    return replace(asked, target=target.target, remark=missing_reason(asked.ratio, target))


def _exactly(value: float) -> Estimate:
    return Estimate(value=value, low=value, high=value)
