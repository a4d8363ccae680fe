"""Recipes: the files in compile/ and what is said about faulty ones."""

import re
from pathlib import Path

import pytest

from edgetvm.errors import UsageError
from edgetvm.recipe import list_recipes, load_recipe

ROOT = Path(__file__).parent.parent
RECIPES = ROOT / "compile"
MINIMAL = 'factory = "a.b:c"\ninput_shape = [1, 3, 8, 8]\n'


def write(folder: Path, text: str, name: str = "net") -> None:
    (folder / f"{name}.toml").write_text(text)


@pytest.mark.parametrize("name", list_recipes(RECIPES))
def test_every_recipe_names_a_title_a_paper_and_an_existing_file(name: str) -> None:
    recipe = load_recipe(name, RECIPES)
    assert recipe.title
    assert re.fullmatch(r"\d{4}\.\d{5}", recipe.paper)
    module = recipe.factory.partition(":")[0]
    assert (ROOT / module.replace(".", "/")).with_suffix(".py").is_file()


@pytest.mark.parametrize("name", list_recipes(RECIPES))
def test_every_recipe_is_named_in_lower_snake_case(name: str) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9_.]*", name)


def test_titles_are_unique() -> None:
    titles = [load_recipe(name, RECIPES).title for name in list_recipes(RECIPES)]
    assert len(titles) == len(set(titles))


def test_the_readme_lists_every_key_with_its_default() -> None:
    readme = (RECIPES / "README.md").read_text()
    for field in load_recipe("mobilenet_v2", RECIPES).__struct_fields__:
        assert f"\n| `{field}` |" in readme


def test_optional_keys_have_defaults(tmp_path: Path) -> None:
    write(tmp_path, MINIMAL)
    recipe = load_recipe("net", tmp_path)
    assert recipe.options == {}
    assert (recipe.seed, recipe.tolerance, recipe.trials) == (0, 1e-4, 1000)


def test_only_toml_files_are_listed_and_sorted(tmp_path: Path) -> None:
    write(tmp_path, MINIMAL, "net_1.4")
    write(tmp_path, MINIMAL, "net")
    (tmp_path / "README.md").write_text("")
    assert list_recipes(tmp_path) == ["net", "net_1.4"]


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
        (MINIMAL + "trial = 5\n", r"net\.toml.*unknown field `trial`.*Keys.*trials"),
        ('factory = "a:b"\n', r"net\.toml.*input_shape"),
        (MINIMAL + 'seed = "one"\n', r"net\.toml.*Expected `int`.*seed"),
        ("factory = \n", r"net\.toml"),
        ('factory = "a:b"\ninput_shape = [3, 8, 8]\n', r"net\.toml: input_shape must be four"),
        ('factory = "a:b"\ninput_shape = [1, 3, 8, 8]\nseed = -1\n', "must not be negative"),
        ('factory = "a:b"\ninput_shape = [1, 3, 8, 8]\ntolerance = 0.0\n', "be above 0"),
        ('factory = "a:b"\ninput_shape = [1, 3, 0, 8]\n', r"net\.toml: input_shape.*positive"),
    ],
    ids=[
        "unknown key",
        "missing key",
        "wrong type",
        "not TOML",
        "three sizes",
        "negative seed",
        "no tolerance",
        "zero size",
    ],
)
def test_a_faulty_recipe_is_rejected(tmp_path: Path, text: str, message: str) -> None:
    write(tmp_path, text)
    with pytest.raises(UsageError, match=message):
        load_recipe("net", tmp_path)
