"""Quantities as people read them. Everything inside edgetvm is in seconds, bytes and FLOP/s."""


def format_latency(seconds: float) -> str:
    """Format a latency in ms with three significant digits: ``8.81 ms``."""
    ms = float(f"{seconds * 1e3:.3g}")
    digits = 0 if ms >= 100 else 1 if ms >= 10 else 2 if ms >= 1 else 3
    return f"{ms:.{digits}f} ms"


def format_duration(seconds: float) -> str:
    """Format a duration: ``42 s``, ``3 min 05 s``, ``2 h 07 min``."""
    total = round(seconds)
    if total < 60:
        return f"{total} s"
    if total < 3600:
        return f"{total // 60} min {total % 60:02d} s"
    return f"{total // 3600} h {total % 3600 // 60:02d} min"


def format_throughput(flop_per_s: float) -> str:
    """Format a throughput in GFLOP/s with one decimal: ``95.3 GFLOP/s``."""
    return f"{flop_per_s / 1e9:.1f} GFLOP/s"


def format_size(size_bytes: int) -> str:
    """Format a size in kB, MB or GB: ``24.0 kB``, ``1.18 MB``, ``25.28 GB``."""
    if size_bytes < 1e6:
        return f"{size_bytes / 1e3:.1f} kB"
    return f"{size_bytes / 1e6:.2f} MB" if size_bytes < 1e9 else f"{size_bytes / 1e9:.2f} GB"
