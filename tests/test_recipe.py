"""Recipes: the files in compile/ and what is said about faulty ones."""

import re
import tomllib
from pathlib import Path

import pytest

from edgetvm.errors import UsageError
from edgetvm.recipe import list_recipes, load_recipe, load_recipes

ROOT = Path(__file__).parent.parent
RECIPES = ROOT / "compile"
ALL = load_recipes(RECIPES)
SHARED = 'factory = "a.b:c"\ninput_shape = [1, 3, 8, 8]\n'
MINIMAL = SHARED + "[models.net]\n"


def write(folder: Path, text: str, name: str = "net") -> None:
    (folder / f"{name}.toml").write_text(text)


def test_every_recipe_names_a_title_a_paper_and_an_existing_file() -> None:
    for name, recipe in ALL.items():
        assert recipe.title, name
        # AlexNet's paper is not on arXiv.
        assert re.fullmatch(r"\d{4}\.\d{4,5}", recipe.paper) or name.startswith("alexnet"), name
        module = recipe.factory.partition(":")[0]
        assert (ROOT / module.replace(".", "/")).with_suffix(".py").is_file(), name


def test_every_model_begins_with_the_name_of_its_file() -> None:
    for path in RECIPES.glob("*.toml"):
        names = tomllib.loads(path.read_text())["models"]
        assert all(name.startswith(path.stem) for name in names), path
        assert all(re.fullmatch(r"[a-z][a-z0-9_.]*", name) for name in names), path


def test_titles_are_unique() -> None:
    titles = [recipe.title for recipe in ALL.values()]
    assert len(titles) == len(set(titles))


def test_the_readme_lists_every_key_with_its_default() -> None:
    readme = (RECIPES / "README.md").read_text()
    for field in load_recipe("mobilenet_v2", RECIPES).__struct_fields__:
        assert f"\n| `{field}` |" in readme


def test_optional_keys_have_defaults(tmp_path: Path) -> None:
    write(tmp_path, MINIMAL)
    recipe = load_recipe("net", tmp_path)
    assert recipe.options == {}
    assert (recipe.seed, recipe.accepted_error, recipe.trials) == (0, 1e-4, 1000)


def test_the_precision_is_a_choice_and_sets_the_accepted_error(tmp_path: Path) -> None:
    write(tmp_path, SHARED + '[models.net]\n[models.net_half]\nprecision = "float16"\n')
    assert load_recipe("net", tmp_path).precision == "float32"
    half = load_recipe("net_half", tmp_path)
    assert (half.precision, half.accepted_error) == ("float16", 3e-2)
    write(tmp_path, SHARED + '[models.net]\nprecision = "float16"\ntolerance = 0.5\n')
    assert load_recipe("net", tmp_path).accepted_error == 0.5
    write(tmp_path, SHARED + '[models.net]\nprecision = "int8"\n')
    with pytest.raises(UsageError, match="precision"):
        load_recipe("net", tmp_path)


def test_a_model_overrides_its_file_and_merges_the_options(tmp_path: Path) -> None:
    shared = (
        'title = "Net"\noptions = { width = 1, depth = 2 }\n[weights_from.one]\nkey_map = "m"\n'
    )
    model = (
        '[models."net_0.5"]\noptions = { width = 0.5 }\nseed = 3\n'
        '[models."net_0.5".weights_from.two]\noptions = { pad = 1 }\n'
    )
    write(tmp_path, SHARED + shared + model)
    recipe = load_recipe("net_0.5", tmp_path)
    assert (recipe.title, recipe.seed) == ("Net 0.5", 3)
    assert recipe.options == {"width": 0.5, "depth": 2}
    assert recipe.weights_from["one"].key_map == "m"
    assert recipe.weights_from["two"].options == {"pad": 1}


def test_resolutions_are_models_of_their_own(tmp_path: Path) -> None:
    text = 'title = "Net"\n[models.net]\nresolutions = [16, "32x64"]\n'
    write(tmp_path, SHARED + text)
    shapes = {name: recipe.input_shape[2:] for name, recipe in load_recipes(tmp_path).items()}
    assert shapes == {"net": (8, 8), "net_16": (16, 16), "net_32x64": (32, 64)}
    assert load_recipe("net_16", tmp_path).title == "Net at 16"


def test_only_toml_files_are_read_and_models_sorted(tmp_path: Path) -> None:
    write(tmp_path, SHARED + '[models.net_b]\n[models."net_1.4"]\n')
    write(tmp_path, SHARED + "[models.a_net]\n", "a_net")
    (tmp_path / "README.md").write_text("")
    assert list_recipes(tmp_path) == ["a_net", "net_1.4", "net_b"]


def test_a_name_that_two_files_give_is_rejected(tmp_path: Path) -> None:
    write(tmp_path, MINIMAL)
    write(tmp_path, MINIMAL, "other")
    with pytest.raises(UsageError, match=r"other\.toml: there are two models 'net'"):
        load_recipes(tmp_path)


def test_a_misspelt_model_is_answered_with_the_nearest_names() -> None:
    with pytest.raises(UsageError, match=r"'mobilnet_v2'.*did you mean.*mobilenet_v2"):
        load_recipe("mobilnet_v2", RECIPES)


def test_an_unlike_model_is_answered_with_all_names(tmp_path: Path) -> None:
    write(tmp_path, MINIMAL)
    with pytest.raises(UsageError, match=r"known: net\..*\.onnx"):
        load_recipe("qqqqqq", tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MINIMAL + "trial = 5\n", r"unknown field `trial`.*Keys.*models"),
        ("[models.net]\n", r"missing required field `factory`"),
        (SHARED, r"missing required field `models`"),
        (SHARED + "[models]\n", r"length >= 1.*models"),
        ("seed = 'one'\n" + MINIMAL, r"Expected `int`.*seed"),
        ("factory = \n", r"Invalid value"),
        ("seed = -1\n" + MINIMAL, r"`int` >= 0.*seed"),
        ("tolerance = 0.0\n" + MINIMAL, r"`float` > 0.*tolerance"),
        (MINIMAL + "input_shape = [1, 3, 0, 8]\n", r"`int` >= 1.*input_shape"),
        (MINIMAL + "input_shape = [8]\n", r"length >= 2.*input_shape"),
        (MINIMAL + 'resolutions = ["8by8"]\n', r"matching regex.*resolutions"),
        (MINIMAL + "compression = { density = 0.3, bits = 9 }\n", r"`int` <= 8.*bits"),
        (MINIMAL + 'normalisation = { mean = [0], std = [1], channels = "GBR" }\n', "GBR"),
    ],
)
def test_a_faulty_recipe_is_rejected(tmp_path: Path, text: str, message: str) -> None:
    write(tmp_path, text)
    with pytest.raises(UsageError, match=message):
        load_recipe("net", tmp_path)
