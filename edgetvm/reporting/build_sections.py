"""Sections on how the bundles came about: tuning curves, layers, how to do it again."""

import shlex
from collections.abc import Iterator
from functools import partial

from edgetvm.layer_profile import LayerProfile
from edgetvm.manifest import AUTO_SCHEDULER, METASCHEDULE, Manifest
from edgetvm.paper.table import NOTHING, Row
from edgetvm.profile_display import layer_row, summarise
from edgetvm.recipe import FLOAT32
from edgetvm.reporting.document import Plot, Section, Table
from edgetvm.reporting.layer_plots import draw_layers, draw_roofline
from edgetvm.reporting.material import Material, Network
from edgetvm.reporting.plots import draw_curve
from edgetvm.reporting.tuning_curve import TuningCurve
from edgetvm.tuning_options import BEST
from edgetvm.units import format_latency, format_throughput


def tuning(material: Material) -> Section:
    """Show how the estimates fell while the networks' tasks were tuned."""
    without = [one for one in material.bundles if one.curve is None]
    return Section(
        title="Tuning",
        notes=(
            "The estimate adds up the tasks' best times, each alone and from the cache.",
            (
                "A curve begins when each task has a record of AutoScheduler's, and follows those "
                "that are kept: what `python -m edgetvm.records compact` dropped is not in it."
            ),
            *map(_no_curve, without),
        ),
        plots=tuple(
            Plot(
                title=one.model,
                description=_describe(one.curve),
                draw=partial(draw_curve, one.curve, one.run.tuned.median_s),
            )
            for one in material.bundles
            if one.curve is not None
        ),
        tables=(Table(title="Tuning", rows=[_tuning_row(one) for one in material.bundles]),),
    )


def _no_curve(one: Network) -> str:
    return (
        f"{one.model} has no curve, since a task has no record of AutoScheduler's: "
        f"`{_tune(one, '--trials', '1000')}` makes them."
    )


def _describe(curve: TuningCurve) -> str:
    first, last = (format_latency(curve.estimates_s[end]) for end in (0, -1))
    return f"The estimate falls from {first} to {last} within {curve.all_trials} trials."


def _tuning_row(one: Network) -> Row:
    curve, manifest = one.curve, one.manifest
    first, last = (
        (format_latency(curve.estimates_s[end]) if curve else NOTHING) for end in (0, -1)
    )
    return {
        "Model": one.model,
        "Target": manifest.target,
        "Tasks": str(len(manifest.tasks)),
        "Tuned": str(manifest.tuned_tasks),
        "Trials kept": str(curve.all_trials) if curve else NOTHING,
        "First estimate": first,
        "Last estimate": last,
        "Measured": format_latency(one.run.tuned.median_s),
    }


def layers(material: Material) -> Section:
    """Show each profiled network layer by layer, beside what the device could do at best."""
    missing = [one for one in material.networks if one.profile is None]
    return Section(
        title="Layers",
        notes=(
            (
                "The layers' times within the network. At best a layer takes as long as its "
                "operations at the device's peak, or its bytes from the nearest cache that they "
                "fit, whichever is longer; a probe measured both in the same run."
            ),
            *([_not_profiled(missing)] if missing else []),
        ),
        sections=tuple(
            _layers_of(one, one.profile) for one in material.networks if one.profile is not None
        ),
    )


def _not_profiled(missing: list[Network]) -> str:
    first = missing[0]
    return (
        f"Not profiled: {', '.join(one.label for one in missing)}. Do it with "
        f"`{_at_threads('profile', first)}`" + (" and so on." if len(missing) > 1 else ".")
    )


def _layers_of(one: Network, profile: LayerProfile) -> Section:
    return Section(
        title=f"Layers of {one.label}",
        notes=tuple(_notes_on(one, profile)),
        plots=tuple(_layer_plots(one, profile)),
        tables=(
            Table(
                title=f"Times of the layers of {one.label}",
                rows=[
                    {"Number": str(number)} | layer_row(profile, layer)
                    for number, layer in enumerate(profile.layers, start=1)
                ],
                folded=True,
            ),
        ),
    )


def _notes_on(one: Network, profile: LayerProfile) -> Iterator[str]:
    yield (
        f"{profile.device.processor}, threads: {profile.threads}, {profile.measured_at[:10]}: "
        f"{summarise(profile)}."
    )
    if profile.bundle_id != one.manifest.bundle_id:
        yield "The bundle was built again since; profile it again."
    if profile.faults:
        names = ", ".join(layer.name for layer in profile.faults)
        yield f"Above the roofline, so that the probe is at fault: {names}."


def _layer_plots(one: Network, profile: LayerProfile) -> Iterator[Plot]:
    slowest = max(profile.layers, key=lambda layer: layer.seconds)
    yield Plot(
        title=f"Time of each layer of {one.label}",
        description=f"{len(profile.layers)} layers; the longest is {slowest.name} with "
        f"{format_latency(slowest.seconds)}, {profile.share(slowest):.0%} of all.",
        draw=partial(draw_layers, profile),
        wide=True,
    )
    if profile.roofline is not None and any(layer.flop for layer in profile.layers):
        best = max(profile.layers, key=lambda layer: layer.flop / layer.seconds)
        yield Plot(
            title=f"Roofline of {one.label}",
            description=f"{best.name} comes nearest to the peak of "
            f"{format_throughput(profile.roofline.flop_per_s.value)}: "
            f"{format_throughput(best.flop / best.seconds)}.",
            draw=partial(draw_roofline, profile, profile.roofline),
        )


def reproduction(material: Material) -> Section:
    """Show the commands, and all that has to be the same."""
    commits = dict.fromkeys(one.manifest.edgetvm_commit for one in material.networks)
    clean = [commit for commit in commits if commit and not commit.endswith("-dirty")]
    return Section(
        title="How to reproduce",
        notes=(
            "In a checkout, on such a device. Without trials a bundle is built from kept records.",
        ),
        commands=(
            *(f"git checkout {commit}" for commit in clean[:1] if len(commits) == 1),
            *(_tune(one, "--trials", "0") for one in material.bundles),
            *(
                _at_threads(command, one)
                for one in material.networks
                for command in ("deploy", "profile")
            ),
            "python -m edgetvm.report",
        ),
        tables=(Table(title="Bundles", rows=[_bundle_row(one) for one in material.networks]),),
    )


def _at_threads(command: str, one: Network) -> str:
    run = one.run
    return (
        f"python -m edgetvm.{command} {run.model} --target {run.target} "
        f"--threads {run.tuned.threads}"
    )


def _tune(one: Network, *trials: str) -> str:
    """Return the command that builds the same bundle from the same records."""
    manifest = one.manifest
    source = manifest.source
    options = ["--target", one.target_option, "--threads", str(manifest.threads), *trials]
    if ":" in source.argument:  # a callable of the user's, which no recipe tells the input of
        options += ["--input-shape", ",".join(map(str, manifest.input_shape))]
    if source.weights:
        options += ["--weights", source.weights]
    if manifest.precision != FLOAT32:
        options += ["--precision", manifest.precision]
    if search := _search(manifest):
        options += ["--tuner", search]
    if manifest.latency is not None and manifest.latency.estimate_flushed:
        options.append("--flush-cache")
    return shlex.join(["python", "-m", "edgetvm.tune", source.argument, *options])


def _search(manifest: Manifest) -> str:
    tuners = manifest.tasks_by_tuner
    if METASCHEDULE not in tuners:
        return ""
    return BEST if AUTO_SCHEDULER in tuners else METASCHEDULE


def _bundle_row(one: Network) -> Row:
    manifest = one.manifest
    built_since = "" if one.run.bundle_id == manifest.bundle_id else ", built again since the run"
    return {
        "Model": one.label,
        "Bundle": one.run.bundle_id + built_since,
        "Built at": manifest.created_at,
        "Deployed at": one.run.measured_at,
        "edgetvm": manifest.edgetvm_version,
        "Commit": manifest.edgetvm_commit or NOTHING,
        "TVM": manifest.tvm_version,
        "LLVM": manifest.llvm_version,
        "TVM target": manifest.tvm_target,
        "Records": f"{one.records.parent.name}/{one.records.name}",
        "Precision": manifest.precision,
        "Weights": manifest.source.weights or f"random, seed {manifest.source.seed}",
        "Reference": manifest.reference_runtime,
    }
