"""Golden data: an input and what the reference makes of it, to check libraries by on devices."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

GOLDEN = "golden"
"""Folder of a bundle."""


def write_golden(folder: Path, data: Floats, outputs: Sequence[Floats]) -> None:
    """Write a golden input and the reference's outputs for it as ``.npy``, in C order."""
    folder.mkdir(exist_ok=True)
    np.save(folder / "input.npy", np.ascontiguousarray(data))
    for index, output in enumerate(outputs):
        np.save(folder / f"output_{index}.npy", np.ascontiguousarray(output))


def read_golden(folder: Path) -> tuple[Floats, tuple[Floats, ...]]:
    """Read a golden input and the reference's outputs."""
    count = len(list(folder.glob("output_*.npy")))
    outputs = (np.load(folder / f"output_{index}.npy") for index in range(count))
    return np.load(folder / "input.npy"), tuple(outputs)
