"""Recipes as TOML files, recipes on a stand-in, and what is wrong with a file said in one line."""

import dataclasses
import tomllib

import pytest

from jaxnst.losses.objective import make_objective
from jaxnst.networks import load_network
from jaxnst.recipes import (
    RECIPES,
    STAND_IN,
    base_recipe,
    format_recipe,
    get_recipe,
    is_approximation,
    read_recipe,
    recipe_on,
)
from jaxnst.recipes.schema import Recipe


@pytest.fixture
def read(tmp_path):
    def call(text, name="mine.toml"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_recipe(path, base=base_recipe)

    return call


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_written_and_read_is_itself(name, read):
    text = format_recipe(get_recipe(name))
    assert tomllib.loads(text)["name"] == name
    assert read(text) == get_recipe(name)


def test_a_name_may_hold_any_character(read):
    named = dataclasses.replace(get_recipe("default"), name='a "\x7f\\\n\x1b\u2028"')
    assert read(format_recipe(named)) == named


def test_every_recipe_s_text_says_every_field_that_has_a_value():
    default = get_recipe("default")
    table = tomllib.loads(format_recipe(default))
    fields = {f.name for f in dataclasses.fields(Recipe) if getattr(default, f.name) is not None}
    assert set(table) == fields


def test_a_file_says_what_differs_from_its_base(read):
    recipe = read(
        """
        base = "gatys2016"
        init = "content"
        bounds = [-128, 128]
        [style]
        weight = 20
        [style.layers]
        relu1_1 = 1
        relu4_1 = 0.5
        [solver]
        kind = "adam"
        [noise]
        centre = 3.0
        [preprocessing]
        scale = 255
        """
    )
    base = get_recipe("gatys2016")
    assert recipe.name == "mine" and recipe.init == "content" and recipe.bounds == (-128.0, 128.0)
    assert recipe.style.layers == (("relu1_1", 1.0), ("relu4_1", 0.5))
    assert recipe.style.weight == 20.0 and isinstance(recipe.style.weight, float)
    assert recipe.style.distance == base.style.distance == "gatys"
    assert recipe.preprocessing is not None and recipe.preprocessing.scale == 255.0
    assert recipe.content == base.content and recipe.space == base.space


def test_an_empty_file_is_the_default_under_its_own_name(read):
    assert read("") == dataclasses.replace(get_recipe("default"), name="mine")


WRONG = {
    "not toml": ("no TOML file", "size = "),
    "not text": ("no TOML file", b"\xff\xfe\x00"),
    "unknown base": (
        "base: unknown recipe 'gatis2016': did you mean 'gatys2016'?",
        'base = "gatis2016"',
    ),
    "base of another kind": ("base is 3, expected a text", "base = 3"),
    "unknown key": ("unknown key 'sizes'", "sizes = 3"),
    "near key": ("unknown key 'style.wieght': did you mean 'weight'?", "[style]\nwieght = 1"),
    "no table": ("style is 3, expected a table [style]", "style = 3"),
    "layers as a list": (
        "style.layers is ['relu1_1'], expected a table",
        '[style]\nlayers = ["relu1_1"]',
    ),
    "a weight that is text": (
        "style.layers.relu1_1 is 'a', expected a number",
        '[style.layers]\nrelu1_1 = "a"',
    ),
    "a negative weight": ("style weight is -1.0, expected", "[style]\nweight = -1"),
    "a negative layer weight": ("weight of relu1_1 is -1.0", "[style.layers]\nrelu1_1 = -1"),
    "a truth for a number": ("style.weight is True, expected a number", "[style]\nweight = true"),
    "a number for a truth": (
        "scales.several is 1, expected true or false",
        "[scales]\nseveral = 1",
    ),
    "a part of a whole": (
        "solver.memory is 1.5, expected a whole number",
        "[solver]\nmemory = 1.5",
    ),
    "a name that is a number": ("name is 1, expected a text", "name = 1"),
    "too few channels": (
        "space.mean is [1, 2], expected a list of 3 numbers",
        "[space]\nmean = [1, 2]",
    ),
    "no list": ("scales.evaluations is 3, expected a list of numbers", "[scales]\nevaluations = 3"),
    "a choice there is not": ("pooling is 'min', expected one of max, avg", 'pooling = "min"'),
    "a number beyond all": ("style.weight is 1", "[style]\nweight = 1" + "0" * 400),
    "too many scales": ("scale factor is 1.001", "[scales]\nfactor = 1.001"),
    "too many steps": ("steps is 99999999999", "[scales]\nsteps = 99999999999"),
    "a search in rounds": (
        "rounds are for fixed steps",
        '[solver]\nround = 9\nline_search = "zoom"',
    ),
    "infinity": ("style weight is inf", "[style]\nweight = inf"),
    "too deep": ("no TOML file", "a = " + "[" * 100_000),
    "too large": ("larger than 1 MiB", "#" * (2**20 + 1)),
}


@pytest.mark.parametrize(("words", "text"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_with_a_file_is_one_line(read, words, text):
    with pytest.raises(ValueError) as raised:
        read(text)
    message = str(raised.value)
    assert words in message and "mine.toml" in message and "\n" not in message


def test_a_file_for_the_network_that_ships_starts_from_the_adapted_base(read):
    recipe = read('base = "keras-vgg19-tv"\nnetwork = "vgg16-lite"\n[tv]\nweight = 0.5\n')
    adapted = recipe_on(get_recipe("keras-vgg19-tv"), STAND_IN)
    assert recipe == dataclasses.replace(
        adapted, name="mine", tv=dataclasses.replace(adapted.tv, weight=0.5)
    )


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_recipe(tmp_path / "none.toml", base=base_recipe)


# On the network that ships.


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_runs_on_the_network_that_ships(name):
    recipe = recipe_on(get_recipe(name), STAND_IN)
    make_objective(recipe, load_network(STAND_IN))
    assert recipe.network == STAND_IN and recipe.preprocessing is None
    assert is_approximation(recipe) == (get_recipe(name).network != STAND_IN)
    assert recipe_on(recipe, STAND_IN) == recipe


@pytest.mark.parametrize("name", RECIPES)
def test_on_its_own_network_a_recipe_stays_as_it_is(name):
    recipe = get_recipe(name)
    assert recipe_on(recipe, recipe.network) is recipe
    assert not is_approximation(recipe)
