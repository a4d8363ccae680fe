"""What MODEL on the command line means: a network with its reference, ready to export.

MODEL is the name of a recipe, the path of an ONNX file, or ``package.module:callable``.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from torch import nn

from edgetvm.errors import UsageError
from edgetvm.manifest import Source, file_sha256
from edgetvm.models.factory import build_module
from edgetvm.models.onnx_file import open_session, read_onnx, settle_input_shape
from edgetvm.models.reference import Float32Array, forward_errors, shape_text, single_float32
from edgetvm.models.weights import initialise, load_checkpoint
from edgetvm.recipe import Recipe, list_recipes, load_recipe

_OWN_MODELS = "edgetvm.models."


@dataclass(frozen=True)
class Network:
    """A network in evaluation mode, with one float32 input and one float32 output.

    Attributes
    ----------
    name : lower snake case; names the bundle's folder.
    recipe : for an ONNX file or a factory one with the default values.
    module : None for an ONNX file; else `onnx_path` is None.
    parameters : number of learnt values.
    """

    name: str
    title: str
    recipe: Recipe
    source: Source
    module: nn.Module | None
    onnx_path: Path | None
    input_name: str
    input_shape: tuple[int, ...]
    parameters: int

    def golden_input(self) -> Float32Array:
        """Return the standard normal input that the recipe's seed defines."""
        generator = np.random.default_rng(self.recipe.seed)
        return generator.standard_normal(self.input_shape, dtype=np.float32)

    def reference_output(self, data: Float32Array) -> Float32Array:
        """Run the network in the framework that it comes from, on this machine's CPU.

        Raises
        ------
        UsageError
            The network does not run, or does not return a single float32 tensor.
        """
        with forward_errors(self.name, data.shape):
            if self.module is None:
                output: object = self._onnx_inference(data, threads=None)()[0]
            else:
                with torch.no_grad():
                    output = self.module(torch.tensor(data))
        return single_float32(self.name, output)

    @property
    def reference_runtime(self) -> str:
        """Name and version of the framework behind :meth:`reference_output`."""
        if self.module is not None:
            return f"PyTorch {torch.__version__.partition('+')[0]}"
        import onnxruntime

        return f"ONNX Runtime {onnxruntime.__version__}"

    def reference_callable(self, data: Float32Array, threads: int) -> Callable[[], None]:
        """Return a function that does one inference of `data`, to be timed.

        Sets PyTorch's number of threads for the whole process.
        """
        if self.module is None:
            return self._onnx_inference(data, threads)
        module, tensor = self.module, torch.tensor(data)
        torch.set_num_threads(threads)

        def infer() -> None:
            with torch.inference_mode():
                module(tensor)

        return infer

    def _onnx_inference(self, data: Float32Array, threads: int | None) -> Callable[[], Any]:
        assert self.onnx_path is not None
        session = open_session(self.onnx_path, threads)
        return lambda: session.run(None, {self.input_name: data})


def resolve_network(
    model: str,
    recipes: Path,
    input_shape: tuple[int, ...] | None = None,
    weights: Path | None = None,
) -> Network:
    """Find the network that `model` names, give it its weights and run it once.

    Edgetvm's own architectures get random weights from the recipe's seed unless `weights` names
    a checkpoint; any other factory's network keeps the weights it comes with.

    Parameters
    ----------
    model : a recipe's name, a path ending in ``.onnx``, or ``package.module:callable``, which
        is also looked for in the working directory.
    recipes : the folder of recipes.
    input_shape : replaces the recipe's; needed where neither recipe nor file has one.
    weights : checkpoint, see :func:`edgetvm.models.weights.load_checkpoint`.

    Raises
    ------
    UsageError
        `model` names nothing usable, or the other arguments do not fit it.
    """
    if input_shape is not None and min(input_shape, default=0) < 1:
        raise UsageError(
            f"--input-shape {shape_text(input_shape)} must be positive numbers, for example "
            "1,3,224,224."
        )
    if model.endswith(".onnx"):
        if weights is not None:
            raise UsageError(
                f"--weights cannot be combined with {model}: an ONNX file holds its weights."
            )
        path = Path(model).resolve()
        return _open_onnx(_own_name(path.stem, recipes), path.stem, path, input_shape)
    if ":" not in model:
        recipe = load_recipe(model, recipes)
        if input_shape is not None:
            recipe = msgspec.structs.replace(recipe, input_shape=input_shape)
        return _open_module(model, recipe, weights)
    if input_shape is None:
        raise UsageError(
            f"{model} needs --input-shape, for example --input-shape 1,3,224,224: a factory does "
            "not say what its network takes."
        )
    title = model.partition(":")[2]
    recipe = Recipe(factory=model, input_shape=input_shape, title=title)
    return _open_module(_own_name(title, recipes), recipe, weights, argument=model)


def network_from_source(
    name: str, title: str, source: Source, input_shape: tuple[int, ...]
) -> Network:
    """Make the network of a bundle's manifest again, for its reference.

    The recipe's tolerance and trials are the default ones here; the manifest has the tolerance.

    Raises
    ------
    UsageError
        The ONNX file or checkpoint is gone or changed, or as for :func:`resolve_network`.
    """
    if source.weights_sha256:
        _require_unchanged(Path(source.weights or source.reference), source.weights_sha256)
    if source.reference.endswith(".onnx"):
        return _open_onnx(name, title, Path(source.reference), input_shape)
    recipe = Recipe(
        factory=source.reference,
        options=source.options,
        input_shape=input_shape,
        title=title,
        seed=source.seed,
    )
    weights = Path(source.weights) if source.weights else None
    return _open_module(name, recipe, weights, source.argument)


def _open_module(
    name: str, recipe: Recipe, weights: Path | None, argument: str | None = None
) -> Network:
    module = build_module(recipe.factory, recipe.options, recipe.seed).eval()
    if weights is not None:
        weights = weights.resolve()
        load_checkpoint(module, weights)
    elif recipe.factory.startswith(_OWN_MODELS):
        with forward_errors(name, recipe.input_shape):
            initialise(module, recipe.input_shape, recipe.seed)
    source = Source(
        argument=argument or name,
        reference=recipe.factory,
        options=recipe.options,
        seed=recipe.seed,
        weights=str(weights or ""),
        weights_sha256=file_sha256(weights) if weights else "",
    )
    network = Network(
        name=name,
        title=recipe.title or name,
        recipe=recipe,
        source=source,
        module=module,
        onnx_path=None,
        input_name="input",
        input_shape=recipe.input_shape,
        parameters=sum(parameter.numel() for parameter in module.parameters()),
    )
    network.reference_output(network.golden_input())
    return network


def _open_onnx(name: str, title: str, path: Path, input_shape: tuple[int, ...] | None) -> Network:
    summary = read_onnx(path)
    shape = settle_input_shape(path, summary.input_shape, input_shape)
    recipe = Recipe(factory=str(path), input_shape=shape, title=title)
    source = Source(
        argument=str(path),
        reference=str(path),
        options={},
        seed=recipe.seed,
        weights="",
        weights_sha256=file_sha256(path),
    )
    network = Network(
        name=name,
        title=title,
        recipe=recipe,
        source=source,
        module=None,
        onnx_path=path,
        input_name=summary.input_name,
        input_shape=shape,
        parameters=summary.parameters,
    )
    network.reference_output(network.golden_input())
    return network


def _require_unchanged(path: Path, sha256: str) -> None:
    if not path.is_file():
        fault = "is gone"
    elif file_sha256(path) != sha256:
        fault = "has changed since"
    else:
        return
    raise UsageError(
        f"{path}, which the bundle was built from, {fault}. Put it back or build the bundle again."
    )


def _own_name(text: str, recipes: Path) -> str:
    """Name the bundle's folder of a user's network: letters, digits, underscores and dots.

    A recipe's name is left to the recipe, whose bundle would be overwritten.
    """
    name = re.sub(r"[^a-z0-9_.]+", "_", text.lower()).strip("._") or "network"
    return f"{name}_own" if name in list_recipes(recipes) else name
