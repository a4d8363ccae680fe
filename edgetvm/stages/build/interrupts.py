"""Ctrl-C in worker processes."""

import signal


def leave_interrupts_to_parent() -> None:
    """Ignore Ctrl-C, which reaches the whole process group; only the parent shall act on it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
