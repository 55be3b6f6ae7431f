"""Recipes refuse what makes no sense, and say which field it was."""

import ast
import dataclasses
import sys
from pathlib import Path

import pytest

from jaxnst.recipes import schema as config
from jaxnst.recipes.schema import (
    Approximation,
    Colors,
    Content,
    Noise,
    Recipe,
    Scales,
    Solver,
    Space,
    Style,
    TotalVariation,
    options,
    replace,
    replace_all,
)

PARTS = [
    *(Space, Content, Style, TotalVariation, Solver, Scales, Noise, Colors, Approximation, Recipe),
]
NAN, INF = float("nan"), float("inf")

REFUSED = [
    (Space, {"order": "gbr"}, "order is 'gbr', expected one of rgb, bgr"),
    (Space, {"scale": 0.0}, "scale is 0.0, expected a number above 0, at most 1e+30"),
    (Space, {"scale": INF}, "scale is inf"),
    (Space, {"deviation": (1.0, -1.0, 1.0)}, "deviation is -1.0"),
    (Space, {"mean": (0.0, NAN, 0.0)}, "mean is nan"),
    (Content, {"weight": -1.0}, "content weight is -1.0, expected a number from 0 to 1e+30"),
    (Content, {"weight": NAN}, "content weight is nan"),
    (Content, {"layers": ()}, "content layers is empty"),
    (Content, {"layers": (("relu4_2", INF),)}, "content weight of relu4_2 is inf"),
    (Content, {"layers": (("a", 1.0), ("a", 2.0))}, "name a layer twice"),
    (Content, {"normalization": "gatys"}, "content normalization is 'gatys'"),
    (Style, {"weight": INF}, "style weight is inf"),
    (Style, {"weight": "15"}, "style weight is '15', expected a number"),
    (Style, {"weight": None}, "style weight is None, expected a number"),
    (Scales, {"steps": 3.5}, "steps is 3.5, expected a whole number"),
    (Style, {"layers": ("relu1_1",)}, "('relu1_1',), expected names with numbers, such as"),
    (Style, {"layers": {"relu1_1": "a"}}, "expected names with numbers, such as"),
    (Style, {"statistics": ("relu1_1",)}, "expected a list, each entry a string and a string"),
    (Solver, {"betas": (0.9,)}, "betas is (0.9,), expected a number and a number"),
    (Scales, {"evaluations": ("a",)}, "evaluations is ('a',), expected a list, each entry a whole"),
    (Recipe, {"bounds": (0, 1, 2)}, "bounds is (0, 1, 2), expected a number and a number"),
    (Recipe, {"preprocessing": "caffe"}, "preprocessing is 'caffe', expected a Space"),
    (Scales, {"sides": "auto"}, "sides is 'auto', expected a list, each entry a whole number"),
    (Solver, {"carry": 1}, "carry is 1, expected true or false"),
    (Style, {"layers": ()}, "style layers is empty"),
    (TotalVariation, {"weight": -0.1}, "total variation weight is -0.1"),
    (TotalVariation, {"chroma": -1.0}, "total variation chroma is -1.0"),
    (TotalVariation, {"kind": "l1"}, "total variation kind is 'l1'"),
    (Solver, {"learning_rate": 0.0}, "learning rate is 0.0"),
    (Solver, {"memory": 0}, "memory is 0, expected at least 1"),
    (Solver, {"line_search": "wolfe"}, "line search is 'wolfe', expected one of fixed, zoom"),
    (Solver, {"betas": (0.9, 1.0)}, "decay rate is 1.0"),
    (Solver, {"average": -0.5}, "decay rate is -0.5"),
    (Scales, {"least": 15}, "least scale is 15, expected at least 16 pixels"),
    (Scales, {"factor": 1.0}, "scale factor is 1.0, expected at least 1.05"),
    (Scales, {"factor": NAN}, "scale factor is nan"),
    (Scales, {"extra": -1}, "scale extra is -1, expected 0 to 64 pixels"),
    (Scales, {"evaluations": ()}, "evaluations is (), expected at least 1"),
    (Scales, {"evaluations": (5, 0)}, "evaluations is (5, 0), expected at least 1"),
    (Scales, {"steps": 0}, "steps is 0, expected at least 1"),
    (Scales, {"size": 15}, "size is 15, expected at least 16 pixels"),
    (Scales, {"side": "middle"}, "side is 'middle', expected one of longest, shortest"),
    (Scales, {"aspect": 0.0}, "aspect is 0.0"),
    (Scales, {"multiple": 0}, "multiple is 0, expected 1 to 256"),
    (Solver, {"round": 1}, "round is 1, expected at least 2"),
    (Noise, {"distribution": "pink"}, "noise distribution is 'pink', expected one of normal"),
    (Noise, {"centre": NAN}, "noise centre is nan"),
    (Noise, {"spread": 0.0}, "noise spread is 0.0"),
    (Noise, {"share": 0.0}, "noise share is 0.0, expected above 0, up to 1"),
    (Colors, {"mode": "chroma"}, "colors mode is 'chroma', expected one of style, content-lumin"),
    (Colors, {"when": "during"}, "colors when is 'during', expected one of before, after"),
    (Approximation, {"content": 0.0}, "approximation's content is 0.0"),
    (Recipe, {"bounds": (1.0, 0.0)}, "bounds is (1.0, 0.0), expected (least, greatest)"),
    (Recipe, {"bounds": (0.0, NAN)}, "bounds is (0.0, nan)"),
    (Recipe, {"bounds": (0.0, 1.0)}, "lbfgs keeps to bounds between rounds only"),
    (Recipe, {"solver": Solver(average=0.9)}, "averaged iterates are for adam, but average is 0.9"),
    (Recipe, {"pooling": "min"}, "pooling is 'min', expected one of max, avg, avg-scaled"),
    (Recipe, {"first_padding": "wrap"}, "first padding is 'wrap', expected one of zero"),
    (Recipe, {"padding": "wrap"}, "padding is 'wrap', expected one of zero, edge, reflect"),
    (
        Recipe,
        {"content": Content(weight=0.0), "style": Style(weight=0.0)},
        "content weight and style weight are both 0",
    ),
]


def make(part, fields):
    """Construct without the type checks of the tests, which would be first to object."""
    made = object.__new__(part)
    for field in dataclasses.fields(part):
        object.__setattr__(made, field.name, fields.get(field.name, field.default))
    made.__post_init__()
    return made


@pytest.mark.parametrize(("part", "fields", "message"), REFUSED, ids=lambda v: str(v)[:40])
def test_a_bad_value_is_refused_in_one_line_that_names_it(part, fields, message):
    with pytest.raises(ValueError) as raised:
        make(part, fields)
    assert str(raised.value).startswith(message) or message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(content=Content(weight=0.0)),
        Recipe(style=Style(weight=0.0)),
        Recipe(tv=TotalVariation(weight=0.0)),
        Recipe(solver=Solver(kind="adam", average=0.99), bounds=(0.0, 1.0)),
        Recipe(solver=Solver(learning_rate=2.0, memory=1, line_search="zoom")),
        Recipe(pooling="avg", padding="reflect"),
        Recipe(solver=Solver(round=20), bounds=(0.0, 1.0)),
        Recipe(style=Style(weight=0.0, layers=())),
    ],
)
def test_what_makes_sense_is_accepted(recipe):
    assert dataclasses.replace(recipe) == recipe


def test_lists_and_dicts_are_taken_for_tuples():
    """By make(), as the tests' checks of types refuse them before a recipe sees them."""
    layers = {"layers": [["relu1_1", 1.0]], "statistics": {"relu1_1": "gram"}}
    style = Style(layers=(("relu1_1", 1.0),), statistics=(("relu1_1", "gram"),))
    assert make(Style, layers) == style and hash(make(Style, layers)) == hash(style)
    scales = make(Scales, {"evaluations": [3, 2], "sides": [32, 64]})
    assert scales == Scales(evaluations=(3, 2), sides=(32, 64))


@pytest.mark.parametrize("part", PARTS)
def test_parts_are_frozen_hashable_values(part):
    one, other = part(), part()
    assert one == other and hash(one) == hash(other)
    name = dataclasses.fields(part)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(one, name, getattr(one, name))


@pytest.mark.parametrize("part", PARTS)
def test_parts_take_keywords_only(part):
    value = getattr(part(), dataclasses.fields(part)[0].name)
    with pytest.raises(TypeError):
        part(value)


@pytest.mark.parametrize("part", PARTS)
def test_every_field_is_documented(part):
    documented = part.__doc__ or ""
    missing = [f.name for f in dataclasses.fields(part) if f"{f.name}:" not in documented]
    assert not missing


@pytest.mark.parametrize("module", [config])
def test_config_needs_the_standard_library_only(module):
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    imported = [
        alias.name if isinstance(node, ast.Import) else node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    ]
    allowed = {*sys.stdlib_module_names, "jaxnst._checks", "jaxnst.recipes.schema"}
    assert imported and all(n in allowed or n.split(".")[0] in allowed for n in imported)


# What the command line offers.

FLAGS = {
    "--average",
    "--colors",
    "--colors-when",
    "--content-layers",
    "--content-weight",
    "--init",
    "--outside",
    "--learning-rate",
    "--optimizer",
    "--padding",
    "--pooling",
    "--scales",
    "--steps",
    "--style-distance",
    "--style-distances",
    "--style-layers",
    "--style-scale",
    "--style-statistic",
    "--style-statistics",
    "--style-weight",
    "--tv-kind",
    "--tv-weight",
}


def test_options_lists_every_flag_with_help_and_present_value():
    recipe = Recipe(style=Style(weight=3.5), scales=Scales(steps=7), init="noise")
    found = options(recipe)
    assert set(found) == FLAGS
    for flag, (path, field, value) in found.items():
        assert field.metadata["flag"] == flag and field.metadata["help"]
        owner = recipe
        for name in path:
            owner = getattr(owner, name)
        assert owner == value
    assert found["--style-weight"][2] == 3.5
    assert found["--steps"][2] == 7
    assert found["--init"][2] == "noise"


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--content-weight", 2.5),
        ("--style-weight", 2.5),
        ("--tv-weight", 2.5),
        ("--optimizer", "adam"),
        ("--learning-rate", 0.5),
        ("--scales", (64, 96)),
        ("--steps", 12),
        ("--init", "noise"),
        ("--tv-kind", "diagonal"),
        ("--pooling", "avg-scaled"),
        ("--padding", "reflect"),
        ("--colors", "linear"),
        ("--colors-when", "after"),
    ],
)
def test_replace_sets_the_one_field_that_the_flag_names(flag, value):
    recipe = Recipe()
    changed = replace(recipe, options(recipe)[flag][0], value)
    assert options(changed)[flag][2] == value != options(recipe)[flag][2]
    others = [f for f in FLAGS if f != flag]
    assert [options(changed)[f][2] for f in others] == [options(recipe)[f][2] for f in others]
    assert replace(changed, options(recipe)[flag][0], options(recipe)[flag][2]) == recipe


def test_replace_checks_the_new_value():
    with pytest.raises(ValueError, match="style weight is -1"):
        replace(Recipe(), ("style", "weight"), -1.0)
    with pytest.raises(ValueError, match="both 0"):
        replace(Recipe(style=Style(weight=0.0)), ("content", "weight"), 0.0)


def test_fields_set_together_are_checked_together():
    averaged = Recipe(solver=Solver(kind="adam", average=0.9))
    with pytest.raises(ValueError, match="averaged iterates are for adam"):
        replace(averaged, ("solver", "kind"), "lbfgs")
    both = {("solver", "kind"): "lbfgs", ("solver", "average"): 0.0, ("init",): "noise"}
    assert replace_all(averaged, both) == Recipe(init="noise")


@pytest.mark.parametrize(
    ("mode", "when", "before", "after"),
    [
        ("style", "before", False, False),
        ("style", "after", False, False),
        ("content-luminance", "before", True, True),
        ("content-luminance", "after", False, True),
        ("linear", "before", True, False),
        ("histogram", "before", True, False),
        ("linear", "after", False, True),
        ("palette", "before", False, True),
        ("palette", "after", False, True),
    ],
)
def test_every_way_of_colouring_has_its_time(mode, when, before, after):
    colors = Colors(mode=mode, when=when)
    assert (colors.before, colors.after) == (before, after)
