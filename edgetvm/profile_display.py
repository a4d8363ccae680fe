"""A profile on the terminal: a row a layer, and what they leave of the network's time."""

from rich.console import Console

from edgetvm.comparison_display import print_table
from edgetvm.layer_profile import Layer, LayerProfile, LayerTimes
from edgetvm.modelled import ModelledLatency
from edgetvm.paper.table import NOTHING, Row
from edgetvm.units import format_latency, format_size, format_throughput

COLUMNS = ("Layer", "Time", "Share", "GFLOP/s", "Moved", "Tuned", "Roofline", "Bound by")


def print_profile(console: Console, profile: LayerProfile) -> None:
    """Print all layers, the sum beside the whole network, and the device's ceilings."""
    title = f"{profile.model} on {profile.device.processor}, threads: {profile.threads}"
    rows = [layer_row(profile, layer) for layer in profile.layers]
    print_table(console, title, rows, COLUMNS)
    console.print(summarise(profile))
    if roofline := profile.roofline:
        peak, one = roofline.flop_per_s.value, roofline.one_thread_flop_per_s.value
        memory = ", ".join(
            f"{one.value / 1e9:.0f} GB/s from {format_size(one.footprint_bytes)}"
            for one in roofline.bytes_per_s
        )
        console.print(
            f"roofline: {format_throughput(peak)}, one thread {format_throughput(one)}; {memory}"
        )
    for layer in profile.faults:
        console.print(
            f"the probe is at fault: {layer.name} runs above the roofline, so that its shares are "
            "too large; profile again on a quiet machine"
        )


def summarise(profile: LayerProfile) -> str:
    """Return the sum of the layers, the whole network, and the gap between, in a line."""
    return (
        f"layers {format_latency(profile.layers_s)}, network {format_latency(profile.network_s)}, "
        f"between them {profile.gap_s * 1e3:+.3f} ms"
    )


def print_modelled(console: Console, modelled: ModelledLatency) -> None:
    """Print all layers of an estimate, their sum with its band, and what it goes by."""
    title = f"{modelled.model} modelled on {modelled.title}, threads: {modelled.threads}"
    rows = [
        {**layer_row(modelled, layer), "Waits": f"{layer.waiting_s / layer.seconds:.0%}"}
        for layer in modelled.layers
    ]
    print_table(console, title, rows, (*COLUMNS, "Waits"))
    console.print(
        f"estimate of a cycle model, nothing was measured: {format_modelled(modelled)} at "
        f"{modelled.clock_mhz:.0f} MHz"
    )
    if roofline := modelled.roofline:
        console.print(
            f"roofline of the profile: {format_throughput(roofline.flop_per_s.value)}, "
            f"{roofline.bytes_per_s[-1].value / 1e9:.1f} GB/s from memory"
        )


def format_modelled(modelled: ModelledLatency) -> str:
    """Return the network's estimate with its band: ``71.2 ms (50.1 to 98.0 ms)``."""
    low, high = format_latency(modelled.low_s).removesuffix(" ms"), format_latency(modelled.high_s)
    return f"{format_latency(modelled.seconds)} ({low} to {high})"


def layer_row(profile: LayerTimes, layer: Layer) -> Row:
    """Return a layer's cells by their headers."""
    share = profile.roofline_share(layer)
    return {
        "Layer": layer.name,
        "Time": format_latency(layer.seconds),
        "Share": f"{profile.share(layer):.1%}",
        "GFLOP/s": f"{layer.flop / layer.seconds / 1e9:.1f}" if layer.flop else NOTHING,
        "Moved": format_size(layer.moved_bytes),
        "Tuned": "yes" if layer.is_tuned else "no",
        "Roofline": NOTHING if share is None else f"{share:.0%}",
        "Bound by": profile.bound_by(layer) or NOTHING,
    }
