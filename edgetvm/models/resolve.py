"""What MODEL on the command line means.

MODEL is the name of a recipe, the path of an ONNX file, or ``package.module:callable``.
"""

import re
from pathlib import Path

import msgspec

from edgetvm.errors import UsageError, did_you_mean
from edgetvm.manifest import Source, sha256_of
from edgetvm.models.deep_compression import pack, unpack
from edgetvm.models.factory import build_module
from edgetvm.models.network import Network
from edgetvm.models.onnx_file import read_onnx, settle_input_shape
from edgetvm.models.reference import forward_errors, shape_text
from edgetvm.models.weights import initialise, load_checkpoint
from edgetvm.recipe import Recipe, list_recipes, load_recipe

_OWN_MODELS = "edgetvm.models."


def resolve_network(
    model: str,
    recipes: Path,
    input_shape: tuple[int, ...] | None = None,
    weights: Path | None = None,
    weights_from: str | None = None,
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
    weights_from : the recipe's name of the public definition that `weights` are of.

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
    if weights_from is not None and (weights is None or ":" in model):
        raise UsageError(
            "--weights-from says whose keys the checkpoint has: give --weights FILE and the name "
            "of a recipe with it."
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
        key_map = ""
        if weights_from is not None:
            recipe, key_map = _following(recipe, weights_from, model)
        return _open_module(model, recipe, weights, key_map)
    if input_shape is None:
        raise UsageError(
            f"{model} needs --input-shape, for example --input-shape 1,3,224,224: a factory does "
            "not say what its network takes."
        )
    title = model.partition(":")[2]
    recipe = Recipe(factory=model, input_shape=input_shape, title=title)
    return _open_module(_own_name(title, recipes), recipe, weights, argument=model)


def _following(recipe: Recipe, weights_from: str, model: str) -> tuple[Recipe, str]:
    """Return `recipe` with the conventions of a public definition, and its key map's name."""
    if weights_from not in recipe.weights_from:
        raise UsageError(
            f"{model} has no weights from {weights_from!r}: "
            f"{did_you_mean(weights_from, recipe.weights_from)}"
        )
    public = recipe.weights_from[weights_from]
    changed = {
        "options": recipe.options | public.options,
        "normalisation": public.normalisation or recipe.normalisation,
    }
    return msgspec.structs.replace(recipe, **changed), public.key_map


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
        compression=source.compression,
    )
    weights = Path(source.weights) if source.weights else None
    return _open_module(name, recipe, weights, source.key_map, source.argument)


def _open_module(
    name: str,
    recipe: Recipe,
    weights: Path | None,
    key_map: str = "",
    argument: str | None = None,
) -> Network:
    module = build_module(recipe.factory, recipe.options, recipe.seed).eval()
    if weights is not None:
        weights = weights.resolve()
        load_checkpoint(module, weights, key_map)
    elif recipe.factory.startswith(_OWN_MODELS):
        with forward_errors(name, recipe.input_shape):
            initialise(module, recipe.input_shape, recipe.seed)
    if recipe.compression is not None:
        packed = pack(module.state_dict(), recipe.compression.density, recipe.compression.bits)
        module.load_state_dict(unpack(packed))
    source = Source(
        argument=argument or name,
        reference=recipe.factory,
        options=recipe.options,
        seed=recipe.seed,
        weights=str(weights or ""),
        weights_sha256=sha256_of(weights) if weights else "",
        key_map=key_map,
        compression=recipe.compression,
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
    network.reference_outputs(network.golden_input())
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
        weights_sha256=sha256_of(path),
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
    network.reference_outputs(network.golden_input())
    return network


def _require_unchanged(path: Path, sha256: str) -> None:
    if not path.is_file():
        fault = "is gone"
    elif sha256_of(path) != sha256:
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
