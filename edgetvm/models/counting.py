"""Parameters and multiply-adds of a network, counted without computing anything."""

from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from edgetvm.models.factory import build_module
from edgetvm.models.reference import forward_errors
from edgetvm.recipe import Recipe


@dataclass(frozen=True)
class Counts:
    """The size of a network.

    Attributes
    ----------
    parameters : learnt values; a batch normalisation has two a channel.
    madds : multiply-adds of one input in convolutions, transposed ones too, and linear layers.
        Pooling, resizing, activations and batch normalisations, which fold into convolutions,
        are left out, as in the papers.
    """

    parameters: int
    madds: int


def count(recipe: Recipe) -> Counts:
    """Count a recipe's network for a single input of its shape.

    Raises
    ------
    UsageError
        The recipe's factory fails, or its network does not take that input.
    """
    shape = (1, *recipe.input_shape[1:])
    # On the meta device tensors have a shape and no values.
    with torch.device("meta"), torch.no_grad():
        network = build_module(recipe.factory, recipe.options, recipe.seed).eval()
        with forward_errors(recipe.title, shape), FlopCounterMode(display=False) as counter:
            network(torch.empty(shape))
    return Counts(
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        madds=counter.get_total_flops() // 2,
    )
