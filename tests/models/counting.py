"""Sizes of a network without its weights."""

from collections.abc import Callable

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def parameters_of(build: Callable[[], nn.Module]) -> int:
    """Return the number of parameters, as the papers count them."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build().parameters())


def million_multiply_adds(build: Callable[[], nn.Module], resolution: int = 224) -> float:
    """Return those of convolutions and linear layers, for one square image."""
    with torch.device("meta"):
        network, image = build().eval(), torch.zeros(1, 3, resolution, resolution)
    with FlopCounterMode(display=False) as counter:
        network(image)
    return counter.get_total_flops() / 2e6


def state_shapes(build: Callable[[], nn.Module]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the state dict by key."""
    with torch.device("meta"):
        return {key: tuple(value.shape) for key, value in build().state_dict().items()}
