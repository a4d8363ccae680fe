"""A profile on the terminal: a row a layer, and what they leave of the network's time."""

from rich.console import Console

from edgetvm.comparison_display import print_table
from edgetvm.layer_profile import Layer, LayerProfile
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


def layer_row(profile: LayerProfile, layer: Layer) -> Row:
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
