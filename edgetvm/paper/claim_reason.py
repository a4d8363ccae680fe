"""Why our number is another than a claim's, in one sentence and out of measured numbers only."""

from collections.abc import Mapping, Sequence

from edgetvm.layer_profile import Layer, LayerProfile
from edgetvm.measurement import Run
from edgetvm.paper.claims import TIME_IN_1X1, ClaimedRatio
from edgetvm.paper.devices import Match
from edgetvm.paper.evidence import NetworkEvidence, TargetEvidence
from edgetvm.paper.figures import Paper

_OTHER: dict[Match, str] = {
    "same board": "another runtime",
    "same core": "another board",
    "other device": "another device",
}


def latency_reason(
    ratio: ClaimedRatio,
    runs: tuple[Run, Run],
    match: Match,
    networks: Mapping[str, NetworkEvidence],
) -> str:
    """Say what differs, and how fast either side is for its multiply-adds.

    Parameters
    ----------
    runs : of numerator and denominator.
    match : how near their device is to ours.
    networks : those of `runs`, and others.
    """
    above, below = runs
    differs = [
        f"{run.model} has {run.tuned_tasks} of {run.tasks} tasks tuned"
        for run in runs
        if run.tuned_tasks < run.tasks
    ]
    if ratio.threads not in (None, above.tuned.threads):
        differs.append(f"threads: {above.tuned.threads} here, {ratio.threads} there")
    differs.append(_OTHER[match])
    work = [networks[run.model].multiply_adds for run in runs]
    seconds = [run.tuned.median_s for run in runs]
    ours = seconds[0] / seconds[1] / (work[0] / work[1])
    theirs = ratio.published / (work[0] / work[1])
    rates = f"here {_rates(work, seconds)}"
    if ratio.values is not None:
        rates += f"; there {_rates(work, [value / 1e3 for value in ratio.values])}"
    return (
        f"{', '.join(differs)}: a multiply-add of {above.model} takes {ours:.2f} times as long as "
        f"one of {below.model} here, and {theirs:.2f} times there ({rates})."
    )


def latency_beside(ratio: ClaimedRatio, pairs: Sequence[tuple[Run, Run]]) -> str:
    """Return our ratios of latencies beside one of multiply-adds; empty beside others."""
    if ratio.quantity != "multiply-adds" or not pairs:
        return ""
    ratios = (
        f"{above.tuned.median_s / below.tuned.median_s:.2f} on {above.device.processor}, "
        f"threads: {above.tuned.threads}"
        for above, below in pairs
    )
    return f"In latency it is {'; '.join(ratios)}."


def share_in_1x1(profile: LayerProfile) -> float:
    """Return the part of all layers' time that 1x1 convolutions take, 0 to 1."""
    return sum(layer.seconds for layer in profile.layers if _is_1x1(layer)) / profile.layers_s


def share_reason(profile: LayerProfile) -> str:
    """Say how much of the work is in 1x1 convolutions, and what each kind of layer takes for it."""
    work = sum(layer.flop for layer in profile.layers if _is_1x1(layer))
    share = work / sum(layer.flop for layer in profile.layers)
    return (
        f"1x1 convolutions have {share:.0%} of the operations and take "
        f"{share_in_1x1(profile):.0%} of the time: the others are slower for what they compute."
        if share > share_in_1x1(profile)
        else f"1x1 convolutions have {share:.0%} of the operations."
    )


def count_reason(ratio: ClaimedRatio, papers: Sequence[Paper]) -> str:
    """Return why our counts of the networks are not the published ones, where a figure says so."""
    field = {"multiply-adds": "madds_m", "parameters": "params_m"}.get(ratio.quantity)
    if field is None:
        return ""
    reasons = (
        f"{figure.model}: {figure.deviation}"
        for paper in papers
        for figure in paper.figures
        if figure.model in ratio.models and figure.deviation and getattr(figure, field) is not None
    )
    return " ".join(dict.fromkeys(reasons))


def missing_reason(ratio: ClaimedRatio, target: TargetEvidence) -> str:
    """Say which bundles, runs or profile a target lacks, and the commands that make them."""
    unbuilt = [model for model in ratio.models if model not in target.networks]
    if unbuilt:
        commands = [
            f"python -m edgetvm.tune {model} --target {target.argument}" for model in unbuilt
        ]
        return f"no bundle of {' and '.join(unbuilt)}: {'; '.join(commands)}"
    command = "profile" if ratio.quantity == TIME_IN_1X1 else "deploy"
    return f"not run together: {_command(command, ratio, target)}"


def undecided_reason(ratio: ClaimedRatio, target: TargetEvidence) -> str:
    """Say how to measure a ratio with a narrower interval."""
    again = f"{_command('deploy', ratio, target)} --together"
    return f"the interval lies on both sides of 1: on a quiet machine, {again}"


def _command(command: str, ratio: ClaimedRatio, target: TargetEvidence) -> str:
    threads = "" if ratio.threads is None else f" --threads {ratio.threads}"
    models = " ".join(ratio.models)
    return f"python -m edgetvm.{command} {models} --target {target.target}{threads}"


def _is_1x1(layer: Layer) -> bool:
    return "conv2d" in layer.name and " 1x1/" in layer.name


def _rates(work: Sequence[int], seconds: Sequence[float]) -> str:
    numbers = (f"{count / time_s / 1e9:.3g}" for count, time_s in zip(work, seconds, strict=True))
    return f"{' and '.join(numbers)} G/s"
