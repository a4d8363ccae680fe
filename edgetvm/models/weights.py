"""Weights of a network: random ones that keep its activations alive, or those of a checkpoint."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch
from torch import nn

from edgetvm.errors import UsageError, one_line
from edgetvm.models.deep_compression import unpack
from edgetvm.models.key_map import load_key_map
from edgetvm.models.layers import ResidualNorm2d

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d)
_NORMALISATIONS = (nn.BatchNorm1d, nn.BatchNorm2d)

_MINIMUM_VALUES = 64
"""Fewer values a channel give no usable statistics; those of the whole tensor stand in."""

_CALIBRATION_PIXELS = 500_000

_SHIFT = 0.3
"""Standard deviation of biases, so that channels differ and a lost bias shows."""

_RESIDUAL_SCALE = 0.25
"""With many full-sized random branches a network turns rounding errors of 1e-7 into 1e-4."""

_LEAST_SCALE = 1e-3
"""An output that varies less is constant but for rounding, which must not be magnified."""

_LISTED_KEYS = 3


def initialise(network: nn.Module, input_shape: tuple[int, ...], seed: int) -> None:
    """Give `network` random weights with which activations stay near unit scale throughout.

    Deep networks with default random weights fade out: a compiled library could be wrong in
    most layers and still match the reference. Hence one pass over standard normal data adjusts
    layer by layer. Batch normalisations take the mean and variance of their input, with a scale
    in [0.8, 1.2] and a shift that are not trivial, so that errors in folding show. Convolutions
    and linear layers are scaled to an output of standard deviation 1, around a random bias if
    they have one (cf. "data-dependent initialisation", Salimans and Kingma, arXiv 1602.07868).

    The result depends on `seed` alone for layers of these kinds; other parameters stay as they
    are. The global random state is not touched. `network` is left in evaluation mode.
    """
    generator = torch.Generator().manual_seed(seed)
    network.eval()
    with torch.no_grad():
        for module in network.modules():
            _draw(module, generator)
        images = _calibration_batch(input_shape)
        _calibrate(network, torch.randn(images, *input_shape[1:], generator=generator))


def _calibration_batch(input_shape: tuple[int, ...]) -> int:
    """Return how many inputs to calibrate with: as many as take little time, 4 at the most.

    Gates of squeeze-and-excite see one value a channel and input; with a single input they fit
    that one and let others grow out of bounds.
    """
    return min(4, max(1, _CALIBRATION_PIXELS // math.prod(input_shape[2:])))


def load_checkpoint(network: nn.Module, path: Path, key_map: str = "") -> None:
    """Load the state dict in `path` into `network`; nothing changes if it does not fit.

    Parameters
    ----------
    path : ``.safetensors``, ``.dcz`` (see :mod:`edgetvm.models.deep_compression`), or ``.pth``
        or ``.pt`` with tensors only, perhaps below the key ``state_dict``.
        ``num_batches_tracked`` may be missing.
    key_map : renames its keys, see :func:`edgetvm.models.key_map.load_key_map`; empty if they
        are the network's own.

    Raises
    ------
    UsageError
        The file cannot be read, or its keys or shapes are not those of the network.
    """
    stored = _read_state(path)
    if key_map:
        try:
            stored = load_key_map(key_map).apply(stored)
        except UsageError as err:
            raise UsageError(f"{path}: {err}") from err
    wanted = network.state_dict()
    optional = {key for key in wanted if key.endswith("num_batches_tracked")}
    shared = [key for key in wanted if key in stored]
    differing = [
        f"{key} {_shape(stored[key])} for {_shape(wanted[key])}"
        for key in shared
        if stored[key].shape != wanted[key].shape
    ]
    faults = [
        _count_and_name("missing", [key for key in wanted if key not in {*stored, *optional}]),
        _count_and_name("unexpected", [key for key in stored if key not in wanted]),
        _count_and_name("of another shape", differing),
    ]
    if any(faults):
        raise UsageError(
            f"{path} does not fit {type(network).__name__}: {'; '.join(filter(None, faults))}. "
            "Give the checkpoint of this very network, with the same options."
        )
    network.load_state_dict(dict(stored), strict=False)


def _draw(module: nn.Module, generator: torch.Generator) -> None:
    if isinstance(module, (*_CONVOLUTIONS, nn.Linear)):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
    elif isinstance(module, _NORMALISATIONS) and module.affine:
        scale = _RESIDUAL_SCALE if isinstance(module, ResidualNorm2d) else 1.0
        module.weight.uniform_(0.8 * scale, 1.2 * scale, generator=generator)
    else:
        return
    if module.bias is not None:
        module.bias.normal_(0.0, _SHIFT, generator=generator)


def _calibrate(network: nn.Module, data: torch.Tensor) -> None:
    """Run `network` once, adjusting each layer just before its result is passed on."""
    adjusted: set[nn.Module] = set()

    def adjust(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> object:
        # A layer that runs twice keeps what its first run asked for.
        if module in adjusted:
            return None
        adjusted.add(module)
        if isinstance(module, _NORMALISATIONS):
            _take_statistics(module, inputs[0])
        else:
            _standardise(module, output)
        # A method of the class, unlike a call of the module, does not run the hooks again.
        return module.forward(*inputs)

    layers = (*_CONVOLUTIONS, *_NORMALISATIONS, nn.Linear)
    hooks = [
        module.register_forward_hook(adjust)
        for module in network.modules()
        if isinstance(module, layers)
    ]
    try:
        network(data)
    finally:
        for hook in hooks:
            hook.remove()


def _take_statistics(norm: nn.Module, values: torch.Tensor) -> None:
    mean, variance = _channel_statistics(values)
    if isinstance(norm, _NORMALISATIONS) and norm.running_mean is not None:
        norm.running_mean.copy_(mean)
        assert norm.running_var is not None
        norm.running_var.copy_(variance)


def _standardise(layer: nn.Module, output: torch.Tensor) -> None:
    assert isinstance(layer, (*_CONVOLUTIONS, nn.Linear))
    if layer.bias is None:
        layer.weight.div_(output.std(correction=0).clamp_min(_LEAST_SCALE))
        return
    channel_axis = -1 if isinstance(layer, nn.Linear) else 1
    mean, variance = _channel_statistics(output.movedim(channel_axis, 1))
    scale = variance.mean().sqrt().clamp_min(_LEAST_SCALE)
    shift = layer.bias.clone()
    layer.weight.div_(scale)
    layer.bias.sub_(mean).div_(scale).add_(shift)


def _channel_statistics(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and variance, (C,) each, of a tensor (N, C, ...)."""
    channels = values.shape[1]
    if values.numel() < _MINIMUM_VALUES * channels:
        variance, mean = torch.var_mean(values, correction=0)
        return mean.expand(channels), variance.expand(channels)
    others = [axis for axis in range(values.dim()) if axis != 1]
    variance, mean = torch.var_mean(values, dim=others, correction=0)
    # A channel that is constant for this input would blow up any other input.
    return mean, variance.clamp_min(1e-3 * float(variance.mean()))


def _read_state(path: Path) -> Mapping[str, torch.Tensor]:
    state: object
    if not path.is_file():
        raise UsageError(f"{path}: there is no such checkpoint file; correct --weights.")
    if path.suffix not in {".pth", ".pt", ".safetensors", ".dcz"}:
        raise UsageError(
            f"{path}: a checkpoint's name must end in .pth, .pt, .safetensors or .dcz."
        )
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(path)
        elif path.suffix == ".dcz":
            state = unpack(path.read_bytes())
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as err:  # the readers raise many kinds, for a damaged file too
        # PyTorch's first sentence is the reason; the others are advice that does not apply here.
        reason = one_line(err).partition(". ")[0]
        raise UsageError(
            f"{path} cannot be read as a checkpoint ({reason}). It must hold a state dict, tensors "
            "only."
        ) from err
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not (
        isinstance(state, Mapping)
        and all(isinstance(key, str) and torch.is_tensor(state[key]) for key in state)
    ):
        raise UsageError(f"{path} holds no state dict. Save network.state_dict(), tensors only.")
    return cast(Mapping[str, torch.Tensor], state)


def _count_and_name(kind: str, keys: list[str]) -> str:
    if not keys:
        return ""
    more = ", ..." if len(keys) > _LISTED_KEYS else ""
    return f"{len(keys)} {kind} ({', '.join(keys[:_LISTED_KEYS])}{more})"


def _shape(tensor: torch.Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"
