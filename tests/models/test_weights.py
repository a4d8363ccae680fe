"""Random weights that keep a network alive, and checkpoints."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from edgetvm.errors import UsageError
from edgetvm.models.deep_compression import pack
from edgetvm.models.detection import Detector
from edgetvm.models.factory import build_module
from edgetvm.models.mobilenet_v2 import MobileNetV2
from edgetvm.models.weights import initialise, load_checkpoint
from edgetvm.recipe import load_recipe
from tests.zoo import RECIPES, SMALLEST

SMALL = (1, 3, 32, 32)


def small_network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 6, 3),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 40),
    )


def same_state(one: nn.Module, other: nn.Module) -> bool:
    left, right = one.state_dict(), other.state_dict()
    return left.keys() == right.keys() and all(left[key].equal(right[key]) for key in left)


def standard_normal(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def first_of(output: torch.Tensor | tuple[torch.Tensor, ...]) -> torch.Tensor:
    return output[0] if isinstance(output, tuple) else output


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALLEST)
def test_activations_stay_near_unit_scale_for_another_input(name: str) -> None:
    recipe = load_recipe(name, RECIPES)
    network = build_module(recipe.factory, recipe.options, recipe.seed)
    initialise(network, recipe.input_shape, recipe.seed)
    magnitudes: dict[str, float] = {}
    deviations: dict[str, float] = {}

    def watch(path: str, layer: nn.Module) -> None:
        def measure(_: nn.Module, __: object, output: torch.Tensor) -> None:
            magnitudes[path] = output.square().mean().sqrt().item()
            # Averages, pooled for instance, deviate less than what goes into them.
            if hasattr(layer, "weight"):
                deviations[path] = output.std().item()

        layer.register_forward_hook(measure)

    for path, layer in network.named_modules():
        # Detections are classes and places, and have no scale.
        if not list(layer.children()) and not isinstance(layer, Detector):
            watch(path, layer)
    with torch.no_grad():
        output, other = (
            first_of(network(standard_normal(recipe.input_shape, recipe.seed + number)))
            for number in (1000, 1001)
        )
    assert output.isfinite().all()
    assert {k: v for k, v in magnitudes.items() if not 0.2 < v < 5} == {}
    assert {k: v for k, v in deviations.items() if not 0.2 < v < 5} == {}
    # A network that ignores its input would hide errors in its first layers.
    assert (output - other).abs().max() > 0.05 * output.abs().max()


def test_the_calibration_input_gives_layers_unit_deviation() -> None:
    network = nn.Sequential(nn.Conv2d(3, 64, 3, bias=False), nn.Linear(30, 200, bias=False))
    initialise(network, SMALL, seed=3)
    data = torch.Generator().manual_seed(3)
    for layer in network:  # the draws of the weights come first
        nn.init.kaiming_normal_(torch.empty_like(layer.weight), generator=data)
    with torch.no_grad():
        hidden = network[0](torch.randn(4, *SMALL[1:], generator=data))
        assert hidden.std().item() == pytest.approx(1, abs=1e-3)
        assert network[1](hidden).std().item() == pytest.approx(1, abs=1e-3)


def test_batch_normalisation_gets_statistics_and_a_visible_affine_part() -> None:
    network = small_network()
    initialise(network, SMALL, seed=1)
    norm = network[1]
    with torch.no_grad():
        values = network[0](standard_normal((16, 3, 32, 32), 5))
    torch.testing.assert_close(norm.running_mean, values.mean((0, 2, 3)), atol=0.2, rtol=0)
    torch.testing.assert_close(norm.running_var, values.var((0, 2, 3)), atol=0, rtol=0.5)
    assert norm.weight.std() > 0
    assert norm.weight.min() >= 0.8
    assert norm.weight.max() <= 1.2
    assert norm.bias.abs().max() > 0.05


def test_a_seed_gives_the_same_weights_whatever_the_network_held() -> None:
    one, other = small_network(), small_network()
    initialise(one, SMALL, seed=7)
    initialise(other, SMALL, seed=7)
    assert same_state(one, other)


def test_another_seed_gives_other_weights() -> None:
    one, other = small_network(), small_network()
    initialise(one, SMALL, seed=7)
    initialise(other, SMALL, seed=8)
    assert not same_state(one, other)


def test_initialising_leaves_the_global_random_state_alone() -> None:
    network = small_network()
    before = torch.get_rng_state()
    initialise(network, SMALL, seed=7)
    assert torch.get_rng_state().equal(before)


def test_initialising_leaves_no_hooks_even_if_the_network_fails() -> None:
    network = small_network()
    with pytest.raises(RuntimeError):
        initialise(network, (1, 4, 32, 32), seed=0)
    assert not any(module._forward_hooks for module in network.modules())


def test_rounding_errors_of_a_constant_activation_are_not_blown_up() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Threshold(100, 0), nn.BatchNorm2d(4))
    network.append(nn.Conv2d(4, 4, 1))
    initialise(network, SMALL, seed=0)
    with torch.no_grad():
        assert network(standard_normal(SMALL, 1)).abs().max() < 10


def save_pth(network: nn.Module, folder: Path) -> Path:
    torch.save(network.state_dict(), folder / "net.pth")
    return folder / "net.pth"


def save_training_checkpoint(network: nn.Module, folder: Path) -> Path:
    torch.save({"state_dict": network.state_dict(), "epoch": 3}, folder / "net.pt")
    return folder / "net.pt"


def save_safetensors(network: nn.Module, folder: Path) -> Path:
    save_file(network.state_dict(), folder / "net.safetensors")
    return folder / "net.safetensors"


def save_compressed(network: nn.Module, folder: Path) -> Path:
    (folder / "net.dcz").write_bytes(pack(network.state_dict(), density=0.5, bits=6))
    return folder / "net.dcz"


Save = Callable[[nn.Module, Path], Path]
SAVES = [save_pth, save_training_checkpoint, save_safetensors]


@pytest.mark.parametrize("save", SAVES)
def test_a_checkpoint_comes_back_as_it_was_saved(save: Save, tmp_path: Path) -> None:
    saved, loaded = small_network(), small_network()
    initialise(saved, SMALL, seed=4)
    load_checkpoint(loaded, save(saved, tmp_path))
    assert same_state(loaded, saved)


def test_a_compressed_checkpoint_comes_back_as_it_was_packed(tmp_path: Path) -> None:
    network, again = small_network(), small_network()
    initialise(network, SMALL, seed=4)
    path = save_compressed(network, tmp_path)
    load_checkpoint(network, path)
    load_checkpoint(again, save_compressed(network, tmp_path))
    assert same_state(again, network)
    assert (network[3].weight == 0).float().mean() == 0.5


def test_batch_counters_may_be_missing(tmp_path: Path) -> None:
    network = small_network()
    state = {k: v for k, v in network.state_dict().items() if "num_batches" not in k}
    torch.save(state, tmp_path / "net.pth")
    load_checkpoint(network, tmp_path / "net.pth")


@pytest.mark.parametrize("save", [*SAVES, save_compressed])
def test_the_checkpoint_of_another_network_is_rejected_by_key(save: Save, tmp_path: Path) -> None:
    network = small_network()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    path = save(MobileNetV2(0.35), tmp_path)
    with pytest.raises(UsageError) as caught:
        load_checkpoint(network, path)
    message = str(caught.value)
    assert message.startswith(f"{path} does not fit Sequential: 9 missing (0.weight, 1.weight, ")
    assert "314 unexpected (" in message
    assert message.count("...") == 2
    assert all(before[key].equal(value) for key, value in network.state_dict().items())


def test_a_checkpoint_of_another_width_is_rejected_by_shape(tmp_path: Path) -> None:
    network = MobileNetV2(0.5)
    before = network.features[0][0].weight.clone()
    path = save_pth(MobileNetV2(1.0), tmp_path)
    with pytest.raises(UsageError, match=r"of another shape \(features\.0\.0\.weight 32x3x3x3 for"):
        load_checkpoint(network, path)
    assert network.features[0][0].weight.equal(before)


@pytest.mark.parametrize("save", [*SAVES, save_compressed])
def test_a_truncated_checkpoint_is_rejected(save: Save, tmp_path: Path) -> None:
    path = save(small_network(), tmp_path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(UsageError, match=r"cannot be read as a checkpoint"):
        load_checkpoint(small_network(), path)


def test_a_missing_checkpoint_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"absent\.pth: there is no such checkpoint"):
        load_checkpoint(small_network(), tmp_path / "absent.pth")


def test_a_file_of_another_kind_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "net.h5").write_bytes(b"")
    with pytest.raises(UsageError, match=r"net\.h5.*\.pth, \.pt, \.safetensors or \.dcz"):
        load_checkpoint(small_network(), tmp_path / "net.h5")


def test_a_whole_pickled_network_is_rejected(tmp_path: Path) -> None:
    torch.save(small_network(), tmp_path / "net.pth")
    with pytest.raises(UsageError, match=r"cannot be read.*tensors only"):
        load_checkpoint(small_network(), tmp_path / "net.pth")


@pytest.mark.parametrize("content", [[1, 2], {"lr": 0.1}, {1: torch.zeros(2)}])
def test_a_file_without_a_state_dict_is_rejected(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "net.pth")
    with pytest.raises(UsageError, match="holds no state dict"):
        load_checkpoint(small_network(), tmp_path / "net.pth")
