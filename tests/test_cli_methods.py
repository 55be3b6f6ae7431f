"""Recipes and reconstructions on the command line."""

import os
import re
import shutil

import helpers
import numpy as np
import pytest

from jaxnst.cli import parser
from jaxnst.image import load_image, save_image
from jaxnst.recipes import RECIPES, format_recipe, get_recipe, recipe_on


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    save_image(tmp_path / "content.png", helpers.picture(60, 80))
    save_image(tmp_path / "style.png", helpers.picture(90, 70, seed=1))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path


def refused(outcome, *words, status=2):
    found, out, err = outcome
    assert (found, out) == (status, "")
    assert re.fullmatch(r"jaxnst [a-z ]+: error: .+\n", err), err
    for word in words:
        assert word in err


GIVEN = ("run", "content.png", "style.png", "-o", "out.png")


# Recipes.


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_shown_as_the_file_that_gives_it(call, name, folder):
    status, out, err = call("run", "--show-recipe", name)
    assert (status, out, err) == (0, format_recipe(get_recipe(name)), "")
    (folder / "mine.toml").write_text(out)
    _, recipe = parser.parse(["a", "b", "--recipe", "mine.toml"], "jaxnst-run")
    assert recipe == get_recipe(name)


def test_a_recipe_of_one_s_own_is_adapted_and_changed_by_flags(folder):
    (folder / "mine.toml").write_text('base = "keras-vgg19-tv"\n[tv]\nweight = 3\n')
    arguments = ["a", "b", "--recipe", "mine.toml", "--network", "vgg16-lite"]
    _, recipe = parser.parse(arguments, "jaxnst-run")
    published = recipe_on(get_recipe("keras-vgg19-tv"), "vgg16-lite")
    assert recipe.content == published.content and recipe.style == published.style
    assert recipe.tv.weight == 3 * published.tv.weight
    _, recipe = parser.parse([*arguments, "--tv-weight", "7"], "jaxnst-run")
    assert recipe.tv.weight == 7


def test_a_name_with_a_percent_sign_does_not_break_the_help(call, folder):
    (folder / "mine.toml").write_text('network = "50% off"\nsummary = "5% more"\n')
    status, out, _ = call("run", "--recipe", "mine.toml", "--help")
    assert status == 0 and "50% off" in out


def test_another_optimizer_has_another_learning_rate():
    _, recipe = parser.parse(
        ["a", "b", "--recipe", "pytorch-vgg19-adam", "--optimizer", "lbfgs"], "jaxnst-run"
    )
    assert recipe.solver.learning_rate is None
    _, recipe = parser.parse(
        ["a", "b", "--recipe", "keras-vgg16-avgpool", "--optimizer", "adam"], "jaxnst-run"
    )
    assert recipe.solver.kind == "adam"


def test_what_is_wrong_with_a_recipe_is_one_line(call, folder):
    (folder / "bad.toml").write_text("[style]\nweight = -1\n")
    (folder / "layer.toml").write_text("[style.layers]\nconv2_block1_concat = 1\n")
    refused(call(*GIVEN, "--recipe", "bad.toml"), "bad.toml: style weight is -1.0")
    refused(call(*GIVEN, "--recipe", "none.toml"), "none.toml")
    refused(call("run", "--show-recipe", "none.toml"), "none.toml")
    refused(call("run", "--show-recipe", "gatys"), "did you mean 'gatys2016'?")
    refused(call(*GIVEN, "--recipe", "layer.toml", "--quiet"), "no layer conv2_block1_concat")
    refused(
        call(*GIVEN, "--recipe", "gatys2016", "--style-size", "64", "--quiet"), "style size is 64"
    )


def test_a_network_without_the_layers_is_refused_before_anything_is_fetched(call, monkeypatch):
    def fetch(*_):
        raise AssertionError("fetched")

    monkeypatch.setattr("jaxnst.cli.loading.fetch_with_bar", fetch)
    outcome = call(*GIVEN, "--network", "densenet121", "--yes", "--quiet")
    refused(outcome, "densenet121 has no layer relu4_2", "--content-layers")


def test_a_recipe_whose_network_is_not_there_names_the_approximation(call):
    outcome = call(*GIVEN, "--recipe", "gatys2016", "--quiet")
    words = "add --yes to download", "--weights FILE", "--network vgg16-lite approximates it"
    refused(outcome, *words)


def test_an_approximation_is_labelled(call):
    approximated = ("--network", "vgg16-lite", "--size", "32", "--steps", "2", "--no-cache")
    approximated += helpers.SHALLOW
    status, out, err = call(*GIVEN, "--recipe", "gatys2016", *approximated)
    assert (status, out) == (0, "out.png\n")
    assert "recipe gatys2016 (an approximation)" in err
    assert "vgg16-lite takes the place of the network of gatys2016" in err
    assert "rescaled to a mean activation of 1" in err
    assert load_image("out.png").shape == (24, 32, 3)
    status, out, _ = call(*GIVEN, "--recipe", "gatys2016", *approximated, "--dry-run")
    assert status == 0 and "gatys2016 (an approximation)" in out


def test_a_recipe_brings_its_size(call):
    for given, expected in ((("--size", "40"), "40x28"), ((), "500x350")):
        status, out, _ = call(
            *GIVEN,
            "--recipe",
            "keras-vgg16-avgpool",
            "--network",
            "vgg16-lite",
            *helpers.SHALLOW,
            *given,
            "--dry-run",
        )
        assert status == 0 and expected in out


def test_a_portrait_stays_upright_and_what_is_stretched_is_said(call, folder):
    save_image("content.png", helpers.picture(80, 40))
    recipe = ("--recipe", "keras-vgg16-avgpool", "--network", "vgg16-lite", "--size", "40")
    small = ("--steps", "2", "--no-cache", *helpers.SHALLOW)
    status, _, err = call(*GIVEN, *recipe, *small)
    assert status == 0 and load_image("out.png").shape == (40, 28, 3)
    for name, size in (("content", "40x80"), ("style", "70x90")):
        shapes = f"{name}.png is {size}, of another shape than the result"
        assert f"notice: {shapes}: it is stretched to 28x40" in err
    again = ("run", "--from", "out.png", *GIVEN[1:3])
    assert call(*again, "-o", "again.png", "--no-cache", "--quiet")[0] == 0
    assert (folder / "again.png").read_bytes() == (folder / "out.png").read_bytes()
    for arguments in (GIVEN + recipe, again):
        assert "28x40 pixels" in call(*arguments, "--dry-run")[1]
    status, _, err = call("sweep", *GIVEN[1:], *recipe, *small, "--style-weight", "1,2")
    assert status == 0 and ", 28x40, 2 variations, " in err
    # Where the shape is kept, only a style may be stretched.
    status, _, err = call(*GIVEN, "--recipe", "pytorch-vgg19-adam", *recipe[2:], *small)
    assert status == 0 and load_image("out.png").shape == (40, 20, 3)
    assert err.count("it is stretched to ") == 1 and "notice: style.png is 70x90" in err


def test_a_picture_after_every_round_is_numbered_exactly(call, folder):
    status, *_ = call(
        *GIVEN,
        *("--recipe", "keras-vgg19-tv", "--network", "vgg16-lite", "--size", "32"),
        *("--steps", "50", "--save-every", "21", "--no-cache", "--quiet", *helpers.SHALLOW),
    )
    assert status == 0
    assert sorted(p.name for p in folder.glob("out*")) == [
        "out-0021.png",
        "out-0042.png",
        "out.png",
    ]


# Reconstructions.

SMALL = ("--size", "32", "--steps", "3", "--no-cache")


@pytest.mark.parametrize(
    ("action", "output", "layers", "names"),
    [
        ("content", "sheet", "relu1_1,relu2_1", ["relu1_1", "relu2_1"]),
        ("style", "", "relu1_1,relu1_1+relu2_1", ["relu1_1", "relu1_1+relu2_1"]),
    ],
)
@pytest.mark.parametrize("together", [(), ("--together",)])
def test_a_sheet_and_single_pictures(call, folder, action, output, layers, names, together):
    stem = output or "content-style-sheet"
    for name in ("", "-relu1_1"):
        shutil.copy("content.png", f"{stem}{name}.png")
    status, out, err = call(
        *("reconstruct", action, "content.png", "--layers", layers),
        *(("-o", f"{output}.png") if output else ()),
        *SMALL,
        *together,
    )
    assert (status, out) == (0, f"{stem}.png\n")
    assert f"{stem}.png and 1 more already exist and will be replaced" in err
    for name in names:
        assert load_image(f"{stem}-{name}.png").shape == (24, 32, 3)
        assert f"{name}: loss " in err
    sheet = load_image(f"{stem}.png")
    assert sheet.shape[1] > 3 * 32 and np.ptp(sheet) > 0.9
    assert len(list(folder.glob(f"{stem}*"))) == 3


def test_layers_are_listed_without_parameters(call):
    status, out, _ = call("reconstruct", "layers", "--network", "densenet121")
    lines = out.splitlines()
    assert status == 0 and re.fullmatch(r"layer +stride +channels", lines[0])
    assert re.search(r"^conv2_block3_0_relu +4 +128$", out, re.MULTILINE)
    assert re.search(r"^relu +32 +1024$", out, re.MULTILINE)
    refused(call("reconstruct", "layers", "--network", "densenet12"), "expected one of vgg16-lite")


@pytest.mark.parametrize(
    ("arguments", "words", "status"),
    [
        (("missing.png", "--layers", "relu1_1"), ("missing.png",), 1),
        (("content.png", "--layers", "relu9_1"), ("no layer relu9_1", "reconstruct layers"), 2),
        (("content.png", "--layers", "relu1_1,"), ("expected names with commas",), 2),
        (("content.png", "--layers", "relu1_1+relu2_1"), ("only style can be reconstr",), 2),
        (("content.png", "--layers", "relu1_1", "--network", "vgg19"), ("add --yes to",), 2),
        (("content.png", "--layers", "relu1_1", "--network", "vgg"), ("unknown network",), 2),
        (("content.png", "--layers", "relu1_1", "--weights", "no"), ("no does not exist",), 1),
        (("content.png", "--layers", "relu1_1", "--steps", "0"), ("--steps", "at least 1"), 2),
        (("content.png", "--layer", "relu1_1"), ("--layers",), 2),
        (("content.png",), ("--layers",), 2),
    ],
)
def test_what_cannot_be_reconstructed_is_one_line(call, folder, arguments, words, status):
    before = sorted(folder.rglob("*.png"))
    refused(call("reconstruct", "content", *arguments, "-o", "sheet.png"), *words, status=status)
    assert sorted(folder.rglob("*.png")) == before


def test_pictures_beside_the_sheet_are_checked_before_any_work(call, folder):
    given = ("reconstruct", "style", "sheet-relu1_1.png", "--layers", "relu2_1,relu1_1")
    os.rename("content.png", "sheet-relu1_1.png")
    words = "the picture of relu1_1 sheet-relu1_1.png would overwrite an input: use another"
    refused(call(*given, "-o", "sheet.png"), words)
    os.mkdir("a-relu1_1.png")
    refused(call(*given, "-o", "a.png"), "a-relu1_1.png is a folder", status=1)
    refused(call(*given, "-o", "n" * 248 + ".png"), "(File name too long)", status=1)
    assert sorted(path.name for path in folder.rglob("*relu2_1*")) == []


def test_a_sheet_does_not_overwrite_its_picture(call, folder):
    outcome = call(
        "reconstruct", "content", "content.png", "--layers", "relu1_1", "-o", "content.png"
    )
    refused(outcome, "-o content.png would overwrite an input: use another name")
    outcome = call("reconstruct", "style", "content.png", "--layers", "a+a", "-o", "sheet.png")
    refused(outcome, "merges a layer with itself")
