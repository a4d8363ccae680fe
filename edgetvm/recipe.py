"""Recipes: what to compile. One TOML file an architecture in `compile/`; see its `README.md`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import UNSET, UnsetType

from edgetvm.errors import UsageError, did_you_mean
from edgetvm.files import read_toml, toml_stems

Positive = Annotated[int, msgspec.Meta(ge=1)]
NotNegative = Annotated[int, msgspec.Meta(ge=0)]
Share = Annotated[float, msgspec.Meta(gt=0, le=1)]
InputShape = Annotated[tuple[Positive, ...], msgspec.Meta(min_length=2, max_length=4)]
Resolution = Positive | Annotated[str, msgspec.Meta(pattern=r"^[1-9]\d*x[1-9]\d*$")]
Precision = Literal["float32", "float16"]
FLOAT32, FLOAT16 = get_args(Precision)
Channels = Annotated[tuple[float, ...], msgspec.Meta(min_length=1)]

TOLERANCES: dict[Precision, float] = {"float32": 1e-4, "float16": 3e-2}
"""Error that is accepted of a whole network; docs/adr/0018 says what rounding to float16 does."""


class Normalisation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an image has to be before it goes in: ``(value / scale - mean) / std`` a channel.

    Attributes
    ----------
    channels : order of the colours.
    scale : divides the 8-bit values; `mean` and `std` are of what this leaves.
    """

    mean: Channels
    std: Channels
    channels: Literal["RGB", "BGR"] = "RGB"
    scale: float = 255.0


class WeightsFrom(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A public definition of the same network, whose checkpoints load with ``--weights-from``.

    Attributes
    ----------
    key_map : file in `edgetvm/models/key_maps/` that renames its keys; empty if they are ours.
    options : of the factory, merged over the recipe's, to follow that definition's conventions.
    normalisation : where it differs from the recipe's.
    """

    key_map: str = ""
    options: dict[str, Any] = {}
    normalisation: Normalisation | None = None


class Compression(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the weights are packed and unpacked again before the network is compiled.

    Attributes
    ----------
    density : share of each layer's weights that pruning keeps.
    bits : of the index into a layer's table of shared weights.
    """

    density: Share
    bits: Annotated[int, msgspec.Meta(ge=1, le=8)]


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one network is made, fed, checked and tuned.

    Attributes
    ----------
    factory : ``module:callable`` that returns a :class:`torch.nn.Module`.
    options : keyword arguments of the factory.
    input_shape : of the float32 input; N, C, H, W for images.
    title : the network's name as people write it.
    paper : arXiv number of the paper that defines the network.
    normalisation : None where no public weights are known.
    weights_from : public definitions by name.
    compression : None for weights as they are.
    seed : of the random weights, the calibration input and the golden input.
    tolerance : largest accepted error relative to the reference output's largest magnitude; None
        for that of the precision.
    trials : default number of measure trials of a tuning run.
    precision : of weights and activations; sums, input and outputs are float32 all the same.
    """

    factory: str
    input_shape: InputShape
    options: dict[str, Any] = {}
    title: str = ""
    paper: str = ""
    normalisation: Normalisation | None = None
    weights_from: dict[str, WeightsFrom] = {}
    compression: Compression | None = None
    seed: NotNegative = 0
    tolerance: Share | None = None
    trials: NotNegative = 1000
    precision: Precision = FLOAT32

    @property
    def accepted_error(self) -> float:
        """Largest error relative to the reference output's largest magnitude."""
        return TOLERANCES[self.precision] if self.tolerance is None else self.tolerance


class _Model(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table ``models.<name>``: what differs from the rest of its file."""

    factory: str | UnsetType = UNSET
    input_shape: InputShape | UnsetType = UNSET
    options: dict[str, Any] = {}
    title: str | UnsetType = UNSET
    paper: str | UnsetType = UNSET
    normalisation: Normalisation | UnsetType = UNSET
    weights_from: dict[str, WeightsFrom] = {}
    compression: Compression | UnsetType = UNSET
    seed: NotNegative | UnsetType = UNSET
    tolerance: Share | UnsetType = UNSET
    trials: NotNegative | UnsetType = UNSET
    precision: Precision | UnsetType = UNSET
    resolutions: tuple[Resolution, ...] = ()


class _RecipeFile(Recipe, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file of `compile/`: what its models share, and the models."""

    models: Annotated[dict[str, _Model], msgspec.Meta(min_length=1)]


def load_recipes(folder: Path) -> dict[str, Recipe]:
    """Load every model of every file of `folder`, sorted by name.

    Raises
    ------
    UsageError
        A file is faulty, or two models have one name; the message names the file.
    """
    recipes: dict[str, Recipe] = {}
    for stem in toml_stems(folder):
        path = folder / f"{stem}.toml"
        for name, recipe in _models_of(stem, read_toml(path, _RecipeFile)):
            if name in recipes:
                raise UsageError(f"{path}: there are two models {name!r}. Rename one of them.")
            recipes[name] = recipe
    return dict(sorted(recipes.items()))


def list_recipes(folder: Path) -> list[str]:
    """Return the names of all models, sorted; raises as :func:`load_recipes`."""
    return list(load_recipes(folder))


def load_recipe(name: str, folder: Path) -> Recipe:
    """Load the recipe of the model `name`.

    Raises
    ------
    UsageError
        There is no such model, or as for :func:`load_recipes`.
    """
    recipes = load_recipes(folder)
    if name not in recipes:
        raise UsageError(
            f"Unknown model {name!r}: {did_you_mean(name, recipes)} A network of your own is "
            "given as path/to/model.onnx or as my_package.my_model:build."
        )
    return recipes[name]


def _models_of(stem: str, file: _RecipeFile) -> Iterator[tuple[str, Recipe]]:
    for name, model in file.models.items():
        recipe = _overridden(stem, name, file, model)
        yield name, recipe
        for resolution in model.resolutions:
            height, _, width = str(resolution).partition("x")
            shape = (*recipe.input_shape[:2], int(height), int(width or height))
            yield (
                f"{name}_{resolution}",
                msgspec.structs.replace(
                    recipe, title=f"{recipe.title} at {resolution}", input_shape=shape
                ),
            )


def _overridden(stem: str, name: str, file: _RecipeFile, model: _Model) -> Recipe:
    """Lay a model's keys over its file's; options and public definitions are merged by key."""
    variant = name.removeprefix(stem).replace("_", " ").strip()
    values = {key: getattr(file, key) for key in Recipe.__struct_fields__}
    values["title"] = f"{file.title} {variant}".strip()
    values |= {
        key: value
        for key in Recipe.__struct_fields__
        if (value := getattr(model, key)) is not UNSET
    }
    values["options"] = file.options | model.options
    values["weights_from"] = file.weights_from | model.weights_from
    return Recipe(**values)
