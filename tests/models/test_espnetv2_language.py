"""ESPNetv2's language model: size, the recurrence against PyTorch's LSTM, the unit, arguments."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from edgetvm.errors import UsageError
from edgetvm.models.espnetv2_language import EfficientRecurrentUnit, ESPNetV2Language, VectorEESP
from edgetvm.models.factory import build_module
from edgetvm.recipe import load_recipe
from tests.models.counting import parameters_of

RECIPES = Path(__file__).parents[2] / "compile"


def test_the_size_is_the_documented_one() -> None:
    assert parameters_of(ESPNetV2Language) == 6_542_768


def test_the_recipe_gives_the_logits_of_each_word() -> None:
    recipe = load_recipe("espnetv2_language", RECIPES)
    with torch.device("meta"):
        network = build_module(recipe.factory, recipe.options, recipe.seed).eval()
        assert network(torch.empty(recipe.input_shape)).shape == (1, 4, 10_000)


def test_the_recurrence_is_an_lstms() -> None:
    width = 16
    unit = EfficientRecurrentUnit(width).eval()
    lstm = nn.LSTM(4 * width, width, bias=False, batch_first=True)
    # PyTorch's gates are input, forget, cell, output; ours forget, input, output, cell.
    order = [1, 0, 3, 2]
    identity = torch.eye(4 * width).reshape(4, width, 4 * width)[order].reshape(4 * width, -1)
    recurrent = unit.recurrent.weight.reshape(4, width, width)[order].reshape(4 * width, width)
    sequence = torch.randn(2, 5, width)
    with torch.no_grad():
        lstm.weight_ih_l0.copy_(identity)
        lstm.weight_hh_l0.copy_(recurrent)
        gates = unit.eesp(sequence.reshape(10, width)).reshape(2, 5, 4 * width)
        torch.testing.assert_close(unit(sequence), lstm(gates)[0])


def test_a_word_changes_nothing_before_it() -> None:
    network = ESPNetV2Language(width=16, words=7).eval()
    sequence = torch.randn(1, 4, 16)
    changed = sequence.clone()
    changed[0, 2] += 1
    with torch.no_grad():
        before, after = network(sequence), network(changed)
    torch.testing.assert_close(before[:, :2], after[:, :2])
    assert (before[:, 2:] - after[:, 2:]).abs().amin(dim=1).max() > 1e-4


def test_side_by_side_the_gates_are_four_separate_units() -> None:
    width = 32
    quarter = width // 4
    unit = VectorEESP(width).eval()
    vectors = torch.randn(3, width)
    with torch.no_grad():
        together = unit(vectors).reshape(3, 4, width)
        for gate in range(4):
            parts = vectors.reshape(3, 4, quarter)
            weight = unit.reduce.weight.reshape(4, 4, quarter // 4, quarter)[:, gate]
            bias = unit.reduce.bias.reshape(4, 4, quarter // 4)[:, gate]  # type: ignore[union-attr]
            reduced = nn.functional.prelu(
                torch.einsum("ngi,goi->ngo", parts, weight) + bias, torch.tensor(0.25)
            )
            total = torch.zeros_like(reduced)
            sums = []
            for dilation, branch in enumerate(unit.branches, start=1):
                assert isinstance(branch, nn.Conv1d)
                kernels = branch.weight.reshape(4, 4, 1, 3)[:, gate]
                biases = branch.bias.reshape(4, 4)[:, gate]  # type: ignore[union-attr]
                total = total + nn.functional.conv1d(
                    reduced, kernels, biases, padding=dilation, dilation=dilation, groups=4
                )
                sums.append(total.reshape(3, quarter))
            merged = nn.functional.prelu(torch.stack(sums, dim=1), torch.tensor(0.25))
            weight = unit.merge.weight.reshape(4, 4, quarter, quarter)[gate]
            bias = unit.merge.bias.reshape(4, 4, quarter)[gate]  # type: ignore[union-attr]
            expected = torch.einsum("nbi,boi->nbo", merged, weight) + bias
            torch.testing.assert_close(
                together[:, gate], expected.reshape(3, width) + vectors, rtol=1e-4, atol=1e-5
            )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 40}, "width 40 must be a positive multiple of 16"),
        ({"width": 0}, "width 0"),
        ({"layers": 0}, "layers is 0"),
        ({"words": 0}, "words is 0"),
    ],
)
def test_a_bad_argument_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ESPNetV2Language(**options)
