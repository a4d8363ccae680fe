"""What a network must do when it runs, and what the user is told when it does not."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch

from edgetvm.errors import UsageError, one_line

Float32Array = npt.NDArray[np.float32]


@contextmanager
def forward_errors(name: str, input_shape: tuple[int, ...]) -> Iterator[None]:
    """Report whatever a network raises as the mismatch with its input that it mostly is.

    Raises
    ------
    UsageError
        The block raised any exception.
    """
    try:
        yield
    except UsageError:
        raise
    except Exception as err:  # networks raise anything
        raise UsageError(
            f"{name} does not run with an input of shape {shape_text(input_shape)} "
            f"({one_line(err)}). Give another --input-shape or correct the network."
        ) from err


def float32_outputs(name: str, output: object) -> tuple[Float32Array, ...]:
    """Return the outputs of the network `name`, one tensor or several, as arrays.

    Raises
    ------
    UsageError
        `output` is neither a float32 tensor nor a tuple or list of them.
    """
    values = output if isinstance(output, tuple | list) and output else [output]
    return tuple(_float32(name, value) for value in values)


def _float32(name: str, output: object) -> Float32Array:
    # NumPy lacks some of PyTorch's types, so the type is looked at before the conversion.
    if isinstance(output, torch.Tensor) and output.dtype == torch.float32:
        output = output.detach().numpy()
    if isinstance(output, np.ndarray) and output.dtype == np.float32:
        return output
    dtype = getattr(output, "dtype", None)
    found = f"a tensor of {dtype}" if dtype else f"a {type(output).__name__}"
    raise UsageError(
        f"{name} returns {found}; edgetvm takes networks that return float32 tensors. "
        "Wrap it in one that does."
    )


def shape_text(shape: tuple[int, ...]) -> str:
    """Write a shape as --input-shape takes it."""
    return ",".join(map(str, shape))
