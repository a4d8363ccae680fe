"""Recipes: what to compile. One TOML file a model in `compile/`; see `compile/README.md`."""

from pathlib import Path
from typing import Any

import msgspec

from edgetvm.errors import UsageError, did_you_mean
from edgetvm.files import read_toml, toml_stems


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one network is made, fed, checked and tuned.

    Attributes
    ----------
    factory : ``module:callable`` that returns a :class:`torch.nn.Module`.
    options : keyword arguments of the factory.
    input_shape : N, C, H, W of the float32 input.
    title : the network's name as people write it.
    paper : arXiv number of the paper that defines the network.
    seed : of the random weights, the calibration input and the golden input.
    tolerance : largest accepted error relative to the reference output's largest magnitude.
    trials : default number of measure trials of a tuning run.
    """

    factory: str
    input_shape: tuple[int, ...]
    options: dict[str, Any] = msgspec.field(default_factory=dict)
    title: str = ""
    paper: str = ""
    seed: int = 0
    tolerance: float = 1e-4
    trials: int = 1000


def list_recipes(folder: Path) -> list[str]:
    """Return the names of all models that have a recipe, sorted."""
    return toml_stems(folder)


def load_recipe(name: str, folder: Path) -> Recipe:
    """Load the recipe of the model `name`.

    Raises
    ------
    UsageError
        There is no such recipe, or its file is faulty.
    """
    path = folder / f"{name}.toml"
    if not path.is_file():
        raise UsageError(
            f"Unknown model {name!r}: {did_you_mean(name, list_recipes(folder))} A network of "
            "your own is given as path/to/model.onnx or as my_package.my_model:build."
        )
    recipe = read_toml(path, Recipe)
    if len(recipe.input_shape) != 4 or min(recipe.input_shape) < 1:
        raise UsageError(f"{path}: input_shape must be four positive numbers (N, C, H, W).")
    if min(recipe.seed, recipe.trials) < 0 or recipe.tolerance <= 0:
        raise UsageError(f"{path}: seed and trials must not be negative, tolerance be above 0.")
    return recipe
