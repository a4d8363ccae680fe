"""Sections on what was measured here: in words, latencies, their samples, the device's state."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np

from edgetvm.measurement import Measurement, Run
from edgetvm.paper.table import NOTHING, Row, latency_rows
from edgetvm.reporting.document import Plot, Section, Table
from edgetvm.reporting.material import Material, Network
from edgetvm.reporting.plots import draw_samples
from edgetvm.units import format_latency, format_size
from edgetvm.verdict import KINDS, slowed_down_by

_LATENCY_COLUMNS = (
    "Model",
    "Tuned",
    "Tuned is",
    "Untuned",
    "Untuned is",
    "Reference",
    "Reference is",
    "Untuned / tuned",
    "Estimate",
    "At build",
    "Relative error",
    "Tuned tasks",
)


def summary(material: Material) -> Section:
    """Say in words what was measured on what, and what it is worth."""
    return Section(
        title="Summary",
        notes=tuple(
            note
            for setting, networks in material.by_setting.items()
            for note in _summary_of(setting, networks)
        ),
        tables=(Table(title="Devices", rows=_device_rows(material)),),
    )


def _summary_of(setting: str, networks: Sequence[Network]) -> Iterator[str]:
    days = sorted({network.run.measured_at[:10] for network in networks})
    when = f"on {days[0]}" if len(days) == 1 else f"from {days[0]} to {days[-1]}"
    counted = f"{len(networks)} network" + ("" if len(networks) == 1 else "s")
    yield f"{counted} on {setting}, measured {when}. {_speedups(networks)}"
    verdicts = {network.model: network.run.verdict for network in networks}
    kinds = Counter(verdict.kind for verdict in verdicts.values())
    by_kind = ", ".join(f"{kinds[kind]} {kind}" for kind in KINDS if kinds[kind])
    against = "; ".join(
        f"{model} is {verdict}" for model, verdict in verdicts.items() if verdict.reason
    )
    yield f"Verdicts on our latencies: {by_kind}." + (f" {against}." if against else "")


def _speedups(networks: Sequence[Network]) -> str:
    gains = [network.compared.speedup.value for network in networks]
    faster = sum(gain > 1 for gain in gains)
    mean = float(np.exp(np.mean(np.log(gains))))
    return (
        f"Tuned is faster than untuned for {faster} of {len(gains)}; untuned / tuned is {mean:.2f} "
        "as a geometric mean."
    )


def _device_rows(material: Material) -> list[Row]:
    rows = []
    for networks in material.by_setting.values():
        run, device = networks[-1].run, networks[-1].run.device
        rows.append(
            {
                "Processor": device.processor,
                "Target": run.target,
                "Board": device.board or NOTHING,
                "Threads": str(run.tuned.threads),
                "Cores": str(device.cores),
                "Memory": format_size(device.memory_bytes),
                "System": f"{device.kernel}, {device.libc}",
                "TVM": device.tvm_version,
                "Networks": str(len(networks)),
            }
        )
    return rows


def latencies(material: Material) -> Section:
    """Show all medians with their intervals, and the verdict on each."""
    rows = {
        (network.model, network.setting): row | _verdicts(network.run)
        for row, network in zip(latency_rows(material.comparison), material.networks, strict=True)
    }
    return Section(
        title="Latency",
        notes=(
            "Medians of one inference at batch 1, without copies, with 95 % bootstrap intervals.",
            "Untuned is TVM's own default; the estimate adds up the tasks' best times, each alone.",
        ),
        tables=tuple(
            Table(
                title=f"Latency on {setting}",
                rows=[rows[network.model, setting] for network in networks],
                columns=_LATENCY_COLUMNS,
            )
            for setting, networks in material.by_setting.items()
        ),
    )


def _verdicts(run: Run) -> Row:
    libraries = _libraries(run)
    return {
        f"{name} is": str(run.verdict_on(libraries[name])) if name in libraries else NOTHING
        for name in ("Tuned", "Untuned", "Reference")
    }


def _libraries(run: Run) -> Mapping[str, Measurement]:
    found = {"Tuned": run.tuned, "Untuned": run.untuned}
    return found if run.reference is None else found | {"Reference": run.reference}


def samples(material: Material) -> Section:
    """Show every sample of every library."""
    return Section(
        title="Latency distributions",
        notes=("A thin line is a sample, the long one the median. The libraries took turns.",),
        plots=tuple(
            Plot(
                title=network.label,
                description=_describe_samples(libraries),
                draw=partial(draw_samples, libraries),
            )
            for network in material.networks
            for libraries in (_libraries(network.run),)
        ),
        tables=(
            Table(
                title="Samples",
                rows=[
                    _sample_row(network, name, one)
                    for network in material.networks
                    for name, one in _libraries(network.run).items()
                ],
                folded=True,
            ),
        ),
    )


def _describe_samples(libraries: Mapping[str, Measurement]) -> str:
    return "Medians: " + ", ".join(
        f"{name.lower()} {format_latency(one.median_s)} of {len(one.samples_s)} samples"
        for name, one in libraries.items()
    )


def _sample_row(network: Network, name: str, one: Measurement) -> Row:
    return {
        "Model": network.label,
        "Library": name,
        "Samples": str(len(one.samples_s)),
        "Inferences a sample": str(one.number),
        "Warm-up": str(one.warm_up),
        "Fastest": format_latency(one.minimum_s),
        "Median": format_latency(one.median_s),
        "p90": format_latency(one.percentile_s(90)),
        "p99": format_latency(one.percentile_s(99)),
        "Deviation": format_latency(one.mad_s),
        "Verdict": str(network.run.verdict_on(one)),
    }


def device_states(material: Material) -> Section:
    """Show what the device did before and after each timing."""
    return Section(
        title="Board state",
        notes=(
            "Before and after the timing, as far as the device's kernel tells.",
            "Others are programs beside ours, in cores that they kept busy meanwhile.",
        ),
        tables=(Table(title="Board state", rows=[_state_row(one) for one in material.networks]),),
    )


def _state_row(network: Network) -> Row:
    run = network.run
    before, after = run.before, run.after
    states = (before, after)
    return {
        "Model": network.label,
        "Measured at": run.measured_at,
        "CPUs": run.cpus or NOTHING,
        "Clocks": _change(state.clocks for state in states),
        "Governor": _change(", ".join(state.governors) for state in states),
        "Temperature": _change(state.temperature for state in states),
        "Slowed down": slowed_down_by(before, after) or NOTHING,
        "Load": _change("" if one.load is None else f"{one.load:.2f}" for one in states),
        "Others": NOTHING if run.others_busy is None else f"{run.others_busy:.2f} cores",
        "Free memory": _change(
            "" if one.available_memory_bytes is None else format_size(one.available_memory_bytes)
            for one in states
        ),
    }


def _change(values: Iterable[str]) -> str:
    """Return what was before and after, once if it is the same."""
    return " → ".join(dict.fromkeys(value or NOTHING for value in values))
