"""A picture that says how it was made, and is made again from that: files and flags."""

import dataclasses
import io
import json
import os
import re
import shutil
from types import SimpleNamespace

import helpers
import jax
import numpy as np
import pytest

from jaxnst import cli
from jaxnst.cli import flags as flag_table
from jaxnst.cli import job, parser, recording
from jaxnst.image import DPI, load_image, read_record, save_image
from jaxnst.optim.sharding import threads_of
from jaxnst.recipes import base_recipe, get_recipe, read_recipe, recipe_on
from jaxnst.recipes.schema import Approximation, Recipe, Style, replace
from jaxnst.transfer.result import StylizeResult

GIVEN = ("content.png", "style.png")
FIRST = (*GIVEN, "-o", "out.png", "--size", "48", "--steps", "3", "--seed", "5", "--init", "noise")

SHALLOW = """
[content.layers]
relu2_1 = 1.0
[style.layers]
relu1_1 = 1.0
[solver]
kind = "adam"
"""
"""A recipe whose program is small."""


def fill(folder):
    save_image(folder / "content.png", helpers.picture(32, 48))
    save_image(folder / "style.png", helpers.picture(48, 40, seed=1))
    save_image(folder / "other.png", helpers.picture(48, 40, seed=2))


@pytest.fixture(scope="module")
def painted(tmp_path_factory):
    """A folder with pictures, one of them painted."""
    folder = tmp_path_factory.mktemp("painted")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        fill(folder)
        (folder / "mine.toml").write_text(SHALLOW)
        flags = ("--recipe", "mine.toml", "--style-weight", "7", "--no-cache", "--quiet")
        assert cli.main_run([*FIRST, *flags]) == 0
    return folder


@pytest.fixture
def folder(painted, tmp_path, monkeypatch):
    """A copy of it, which is the current folder."""
    for path in painted.iterdir():
        shutil.copy(path, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(run):
    """Call ``jaxnst-run`` without a cache."""
    return lambda *arguments: run(*arguments, "--no-cache")


@pytest.fixture
def unpainted(monkeypatch):
    """Put a ready picture in the place of what would be painted; gives what was asked for."""
    asked = {}

    def stylize(content, styles, **more):
        asked.update(more, content=content, styles=styles)
        picture = helpers.picture(32, 48, seed=3)
        return StylizeResult(picture, {}, 3, 0, 0.0, 0.0, ())

    monkeypatch.setattr(job, "stylize", stylize)
    return asked


def refused(outcome, status, *words):
    found, out, err = outcome
    assert (found, out) == (status, "")
    assert re.fullmatch(r"jaxnst-run: error: .+\n", err), err
    for word in words:
        assert word in err


def rewritten(path, **changes):
    """Change the record of a picture."""
    record = dataclasses.replace(read_record(path), **changes)
    save_image(path, load_image(path), record=record)


# Written.


def test_a_picture_says_how_it_was_made(folder):
    record = read_record("out.png")
    assert record.recipe.style.weight == 7 and record.recipe.scales.steps == 3
    assert (record.size, record.style_size, record.seed) == (48, None, 5)
    assert (record.network, record.precision, record.remat) == ("vgg16-lite", "float32", False)
    assert [(s.role, s.name) for s in record.sources] == [
        ("content", "content.png"),
        ("style", "style.png"),
    ]


def test_no_metadata_and_formats_without_room(folder, run, unpainted):
    for output, flag in (("a.png", "--no-metadata"), ("b.bmp", "--quiet")):
        assert run(*GIVEN, "-o", output, flag)[0] == 0
        assert read_record(output) is None
    assert run(*GIVEN, "-o", "c.webp")[0] == 0
    assert read_record("c.webp").size == 512


def test_no_path_is_written(folder, run, unpainted):
    (folder / "deep").mkdir()
    for name in ("content.png", "style.png", "other.png"):
        shutil.move(name, folder / "deep" / name)
    (folder / "deep" / "mine.toml").write_text("[style]\nweight = 3\n")
    deep = folder / "deep"
    for ending in ("png", "jpg", "webp", "tif", "bmp"):
        status, _, _ = run(
            deep / "content.png",
            deep / "style.png",
            *("--init", deep / "other.png", "--recipe", deep / "mine.toml"),
            *("-o", deep / f"out.{ending}", "--size", "48"),
        )
        assert status == 0
        data = (deep / f"out.{ending}").read_bytes()
        assert b"deep" not in data and str(folder).encode() not in data
    record = read_record(deep / "out.png")
    assert record.recipe.init == "other.png" and record.recipe.name == "mine"
    assert [s.role for s in record.sources] == ["content", "style", "init"]


def test_what_is_saved_on_the_way_does_not_pretend_to_be_finished(folder, run):
    status, _, _ = run("--from", "out.png", *GIVEN, "-o", "new.png", "--save-every", "2")
    assert status == 0
    assert read_record("new-0002.png") is None and read_record("new.png") is not None


def test_bits_dpi_and_quality(folder, run, unpainted):
    pytest.importorskip("imagecodecs")
    assert run(*GIVEN, "-o", "a.png", "--bits", "16", "--dpi", "300")[0] == 0
    assert run(*GIVEN, "-o", "b.png")[0] == 0
    for quality in (20, 90):
        assert run(*GIVEN, "-o", f"{quality}.jpg", "--quality", quality)[0] == 0
    assert dict(read_record("a.png").arguments) == {"bits": 16, "dpi": 300}
    assert (folder / "a.png").read_bytes()[24] == 16  # IHDR's bit depth
    assert (folder / "b.png").read_bytes()[24] == 8
    assert os.path.getsize("20.jpg") < os.path.getsize("90.jpg")
    assert flag_table.DPI == DPI


def test_bits_dpi_and_quality_are_made_again_where_the_format_has_them(folder, run, unpainted):
    pytest.importorskip("imagecodecs")
    assert run(*GIVEN, "-o", "a.tif", "--bits", "16", "--dpi", "300")[0] == 0
    assert run(*GIVEN, "-o", "b.tif", "--from", "a.tif")[0] == 0
    assert (folder / "b.tif").read_bytes() == (folder / "a.tif").read_bytes()
    assert run(*GIVEN, "-o", "c.jpg", "--from", "a.tif", "--quality", "30")[0] == 0
    assert dict(read_record("c.jpg").arguments) == {"bits": 8, "dpi": 300, "quality": 30}
    assert run(*GIVEN, "-o", "d.jpg", "--from", "c.jpg")[0] == 0
    assert (folder / "d.jpg").read_bytes() == (folder / "c.jpg").read_bytes()
    assert run(*GIVEN, "-o", "e.png", "--from", "c.jpg")[0] == 0
    assert dict(read_record("e.png").arguments) == {"bits": 8, "dpi": 300}


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("-o", "a.jpg", "--bits", "16"), 1, ("a.jpg", "PNG and TIFF only")),
        (("-o", "a.png", "--bits", "12"), 2, ("--bits", "8, 16")),
        (("-o", "a.png", "--quality", "90"), 2, ("--quality is for JPEG, WebP and AVIF",)),
        (("-o", "a.jpg", "--quality", "0"), 2, ("--quality", "1 to 100")),
        (("-o", "a.jpg", "--dpi", "0"), 2, ("--dpi", "1 to 30000")),
        (("-o", "a.jpg", "--other-inputs"), 2, ("--other-inputs needs --from",)),
        (("-o", "a.jpg", "--from", "content.png"), 2, ("--from", "has no record of how it")),
        (("-o", "a.pgn", "--from", "out.png"), 1, ("error: a.pgn has the extension .pgn",)),
        (("-o", "a.jpg", "--from", "none.png"), 2, ("--from", "none.png does not exist")),
        (("-o", "a.jpg", "--from", "."), 2, ("--from", "is a folder")),
        (("-o", "./out.png", "--from", "out.png"), 2, ("./out.png would overwrite an input",)),
    ],
)
def test_wrong_flags(folder, run, arguments, status, words):
    refused(run(*GIVEN, *arguments), status, *words)
    assert not os.path.exists("a.jpg") and not os.path.exists("a.png")


# Repeated.


def test_a_picture_is_made_again_to_the_byte(folder, run):
    status, out, err = run("--from", "out.png", *GIVEN, "-o", "new.png")
    assert (status, out) == (0, "new.png\n") and "notice: made" not in err
    assert (folder / "new.png").read_bytes() == (folder / "out.png").read_bytes()


def test_the_inputs_may_have_other_names(folder, run):
    os.rename("style.png", "renamed.png")
    assert run("--from", "out.png", "content.png", "renamed.png", "-o", "new.png")[0] == 0
    np.testing.assert_array_equal(load_image("new.png"), load_image("out.png"))
    assert read_record("new.png").sources[1].name == "renamed.png"


def test_flags_that_are_given_win(folder, run, unpainted):
    more = "--size", "64", "--seed", "6", "--content-weight", "2"
    assert run(*more, *GIVEN, "--from", "out.png", "-o", "new.png", "--style-size", "40")[0] == 0
    assert (unpainted["size"], unpainted["seed"], unpainted["style_size"]) == (64, 6, 40)
    recipe = unpainted["recipe"]
    assert recipe.content.weight == 2
    assert recipe.style.weight == 7 and recipe.scales.steps == 3 and recipe.init == "noise"
    assert read_record("new.png").recipe == recipe


def test_another_recipe_takes_the_place_of_the_recorded_one(folder):
    flags, recipe = parser.parse(
        [*GIVEN, "--from", "out.png", "--recipe", "gatys2016"], "jaxnst-run"
    )
    assert recipe == get_recipe("gatys2016") and flags.network is None
    assert (flags.size, flags.seed) == (48, 5)


def test_a_record_s_recipe_is_adapted_to_a_network_that_is_given(folder):
    rewritten("out.png", recipe=get_recipe("keras-vgg19-tv"), network="vgg19")
    arguments = [*GIVEN, "--from", "out.png"]
    assert parser.parse(arguments, "jaxnst-run")[0].network == "vgg19"
    flags, recipe = parser.parse([*arguments, "--network", "vgg16-lite"], "jaxnst-run")
    assert flags.network == recipe.network == "vgg16-lite"


STRETCHED = "[scales]\nstyle_like_content = true\nsides = [64, 96]\n"


@pytest.mark.parametrize(
    ("first", "later", "size", "style_size", "sides", "style_scale"),
    [
        ((), ("--scales", "64,128,1024"), None, None, (64, 128, 1024), 1),
        (("--size", "96"), ("--scales=64,128",), None, None, (64, 128), 1),
        (("--size", "96"), ("--scales", "auto"), 96, None, (), 1),
        (("--scales", "64,96"), ("--size", "2048"), 2048, None, None, 1),
        (("--scales", "64,96"), ("--scales", "64,128"), None, None, (64, 128), 1),
        (("--scales", "64,96"), (), None, None, (64, 96), 1),
        (("--scales", "64,96"), ("--scales", "auto"), 96, None, (), 1),
        (("--scales", "64,96"), ("--recipe", "default"), 96, None, None, 1),
        (("--style-size", "64"), ("--style-scale", "1.5"), 512, None, None, 1.5),
        (("--style-scale", "1.5"), ("--style-size=64",), 512, 64, None, 1),
        (("--style-scale", "1.5"), ("--size", "64"), 64, None, None, 1.5),
        (
            ("--size", "64", "--style-size", "40"),
            ("--recipe", "sides.toml"),
            None,
            None,
            (64, 96),
            1,
        ),
    ],
)
def test_a_flag_drops_what_is_recorded_and_contradicts_it(
    folder, run, unpainted, first, later, size, style_size, sides, style_scale
):
    (folder / "sides.toml").write_text(STRETCHED)
    assert run(*GIVEN, "-o", "first.png", *first)[0] == 0
    status, _, err = run("--from", "first.png", *GIVEN, "-o", "new.png", *later)
    assert status == 0, err
    scales = unpainted["recipe"].scales
    assert (unpainted["size"], unpainted["style_size"]) == (size, style_size)
    assert (scales.sides, scales.style_scale) == (sides, style_scale)


def test_flags_that_contradict_each_other_are_refused_as_ever(folder, run):
    arguments = "--from", "out.png", *GIVEN, "-o", "new.png"
    refused(run(*arguments, "--size", "64", "--scales", "32,128"), 2, "size is 64")
    refused(run(*arguments, "--style-size", "64", "--style-scale", "2"), 2, "give either")


def test_an_adapted_recipe_is_not_taken_for_another_network(folder, run):
    adapted = recipe_on(get_recipe("keras-vgg19-tv"), "vgg16-lite")
    rewritten("out.png", recipe=adapted)
    arguments = "--from", "out.png", *GIVEN, "-o", "new.png", "--network"
    words = "--from", "the recipe of out.png was adapted to vgg16-lite", "add --recipe"
    refused(run(*arguments, "vgg19"), 2, *words)
    assert parser.parse([*arguments, "vgg16-lite"], "jaxnst-run")[1] == adapted
    given = [*arguments, "vgg19", "--recipe", "keras-vgg19-tv"]
    flags, recipe = parser.parse(given, "jaxnst-run")
    assert (flags.network, recipe) == ("vgg19", get_recipe("keras-vgg19-tv"))


def test_a_recipe_that_is_given_may_start_from_a_picture(folder, run, unpainted):
    (folder / "start.toml").write_text('init = "other.png"\n')
    arguments = *GIVEN, "-o", "new.png", "--recipe", "start.toml", "--other-inputs"
    status, _, err = run("--from", "out.png", *arguments)
    assert status == 0, err
    np.testing.assert_array_equal(unpainted["init"], load_image("other.png"))


def test_the_help_shows_the_record_s_recipe(folder, run):
    status, out, _ = run("--from", "out.png", "--help")
    assert status == 0 and "more gives more style (default: 7)" in " ".join(out.split())


def test_arguments_are_restored(folder, run, unpainted):
    rewritten("out.png", arguments={"deterministic": True, "preprocessing": "torchvision"})
    flags, _ = parser.parse([*GIVEN, "--from", "out.png"], "jaxnst-run")
    assert flags.deterministic and flags.preprocessing == "torchvision"
    given = [*GIVEN, "--from", "out.png", "--preprocessing", "caffe"]
    assert parser.parse(given, "jaxnst-run")[0].preprocessing == "caffe"
    for flag in recording.RECORDED:  # a flag of another name would be an error while painting
        assert hasattr(flags, flag.removeprefix("--").replace("-", "_"))


def test_memory_is_saved_again_where_it_was_saved(folder, run, unpainted):
    rewritten("out.png", remat=True)
    assert run(*GIVEN, "--from", "out.png", "-o", "new.png")[0] == 0
    assert unpainted["remat"] is True
    assert run(*GIVEN, "--from", "out.png", "-o", "new.png", "--size", "64")[0] == 0
    assert unpainted["remat"] is False
    rewritten("out.png", tile=512)
    for flags, tile in (((), 512), (("--tile", "256"), 256), (("--tile", "off"), None)):
        assert run(*GIVEN, "--from", "out.png", "-o", "new.png", *flags)[0] == 0
        assert unpainted["tile"] == tile
    few = replace(read_record("out.png").recipe, ("solver", "memory"), 3)
    rewritten("out.png", recipe=few)
    assert run(*GIVEN, "--from", "out.png", "-o", "new.png")[0] == 0
    assert unpainted["recipe"].solver.memory == 3


def test_mixtures_and_masks_are_recorded_and_asked_for_again(folder, run, unpainted):
    save_image("left.png", np.repeat(np.arange(48) < 24, 3).reshape(1, 48, 3).repeat(32, 0) * 1.0)
    save_image("right.png", 1 - load_image("left.png"))
    two, masks = (*GIVEN, "other.png"), ("--mask", "left.png", "--mask", "right.png")
    mixed = "--style-mix", "relu1_1:0.25,0.75", "--style-mix", "0.1,0.9"
    small = "--recipe", "mine.toml", "--size", "48"
    assert run(*two, "-o", "a.png", *mixed, *small)[0] == 0
    mixture = unpainted["style_mix"]
    assert dict(read_record("a.png").arguments)["style-mix"] == ("relu1_1:0.25,0.75", "0.1,0.9")
    assert run(*two, "-o", "b.png", "--from", "a.png")[0] == 0
    assert unpainted["style_mix"] == mixture == {"relu1_1": (0.25, 0.75), "": (0.1, 0.9)}
    assert (folder / "a.png").read_bytes() == (folder / "b.png").read_bytes()
    assert run(*two, "-o", "c.png", "--from", "a.png", "--style-mix", "0.5,0.5")[0] == 0
    assert unpainted["style_mix"] == {"": (0.5, 0.5)}
    assert run(*two, "-o", "d.png", *masks, *small)[0] == 0
    refused(run("--from", "d.png", *two, "-o", "e.png"), 2, "its mask left.png is missing")
    assert run("--from", "d.png", *two, "-o", "e.png", *masks)[0] == 0
    assert (folder / "d.png").read_bytes() == (folder / "e.png").read_bytes()


def test_a_picture_from_standard_input_is_known_by_its_digest(folder, run, unpainted, monkeypatch):
    def piped(name):
        data = io.BytesIO((folder / name).read_bytes())
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=data, isatty=lambda: False))

    piped("content.png")
    assert run("--from", "out.png", "-", "style.png", "-o", "new.png")[0] == 0
    assert read_record("new.png").sources[0].name == "standard input"
    piped("other.png")
    refused(run("--from", "out.png", "-", "style.png", "-o", "new.png"), 2, "its content was")


# Other inputs, other versions.


@pytest.mark.parametrize(
    ("pictures", "words"),
    [
        (
            ("content.png", "other.png"),
            ("its style was style.png", "other.png is a different file"),
        ),
        (("other.png", "style.png"), ("its content was content.png", "--other-inputs")),
        (("style.png", "content.png"), ("its content was content.png",)),
        (("content.png", "style.png", "other.png"), ("it had no style other.png",)),
    ],
)
def test_other_inputs_are_refused_unless_asked_for(folder, run, unpainted, pictures, words):
    arguments = "--from", "out.png", *pictures, "-o", "new.png"
    refused(run(*arguments), 2, "--from", *words)
    assert not unpainted
    assert run(*arguments, "--other-inputs")[0] == 0
    assert unpainted["recipe"].style.weight == 7 and unpainted["seed"] == 5


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"jaxnst": "0.0.1"}, ("made by jaxnst 0.0.1", "may differ")),
        ({"jax": "0.4.1"}, ("made by JAX 0.4.1", "may differ")),
        ({"platform": "tpu"}, ("made on a tpu", "may differ")),
        ({"threads": 99}, ("made on 99 threads of a CPU", "PJRT_NPROC=99", "may differ")),
        ({"network_sha256": "ab" * 32}, ("vgg16-lite", "abababababab", "will differ")),
    ],
)
def test_what_has_changed_since_is_said(folder, run, unpainted, changes, words):
    rewritten("out.png", **changes)
    status, _, err = run("--from", "out.png", *GIVEN, "-o", "new.png")
    (notice,) = [line for line in err.splitlines() if "notice: made" in line]
    assert status == 0
    for word in words:
        assert word in notice


def test_a_dry_run_says_how_a_picture_would_be_made_again(folder, run, unpainted):
    rewritten("out.png", remat=True, threads=99)
    status, out, err = run("--from", "out.png", *GIVEN, "--dry-run")
    assert status == 0 and not unpainted
    assert "48x32 pixels" in out and "feature maps are recomputed" in out
    assert "notice: made on 99 threads of a CPU" in err


def test_the_number_of_threads_is_recorded_and_where_it_is_unknown_nothing_is_said(
    folder, run, call, unpainted
):
    threads = threads_of(jax.devices("cpu")[0])
    assert read_record("out.png").threads == threads
    assert f" on a cpu, {threads} threads\n" in call("show", "out.png")[1]
    rewritten("out.png", threads=None)
    status, _, err = run("--from", "out.png", *GIVEN, "-o", "new.png")
    assert status == 0 and "notice: made" not in err


# Hostile records.


def test_a_record_opens_no_file(folder, run, unpainted):
    (folder / "start.png").write_bytes((folder / "other.png").read_bytes())
    hostile = dataclasses.replace(read_record("out.png").recipe, init="start.png")
    rewritten("out.png", recipe=hostile)
    arguments = "--from", "out.png", *GIVEN, "-o", "new.png", "--other-inputs"
    refused(run(*arguments), 2, "--init", "started from a picture: add --init start.png")
    assert run(*arguments, "--init", "other.png")[0] == 0
    np.testing.assert_array_equal(unpainted["init"], load_image("other.png"))
    assert run(*arguments, "--init", "content")[0] == 0 and unpainted["init"] is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"network": "../../weights.npz"}, ("unknown network",)),
        ({"network": "--weights=x.npz"}, ("unknown network",)),
        ({"size": 2**40}, ("--size", "out of range")),
        ({"seed": 2**40}, ("--seed", "out of range")),
        ({"arguments": {"weights": "/etc/passwd"}}, ("'weights'", "does not know")),
        ({"arguments": {"preprocessing": "/etc"}}, ("--preprocessing", "/etc")),
    ],
)
def test_a_record_s_values_are_checked_as_flags_are(folder, run, unpainted, changes, words):
    rewritten("out.png", **changes)
    refused(run("--from", "out.png", *GIVEN, "-o", "new.png"), 2, *words)
    assert not unpainted


@pytest.mark.parametrize(
    ("weight", "stand_in", "words"),
    [
        (1.0, {"layers": (("a", "relu1_1"), ("b", "relu1_1"))}, "name a layer twice"),
        (1e30, {"style": 1e30}, "style weight"),
    ],
)
def test_a_record_s_recipe_that_cannot_be_adapted_is_one_line(
    folder, run, unpainted, weight, stand_in, words
):
    hostile = Recipe(
        network="vgg19",
        style=Style(weight=weight, layers=(("a", 1.0), ("b", 1.0))),
        approximation=Approximation(**stand_in),
    )
    rewritten("out.png", recipe=hostile, network="vgg16-lite")
    refused(run("--from", "out.png", *GIVEN, "-o", "new.png"), 2, "error: --from: ", words)
    assert not unpainted


def test_a_damaged_record_is_one_line(folder, run):
    from PIL import Image, PngImagePlugin

    text = PngImagePlugin.PngInfo()
    text.add_itxt("jaxnst", '{"jaxnst_record":2,"size":' + "[" * 5000)
    Image.new("RGB", (4, 4)).save("out.png", pnginfo=text)
    refused(run("--from", "out.png", *GIVEN, "-o", "new.png"), 2, "out.png: the record is damaged")


# Shown.


def test_show_prints_facts_and_a_recipe_that_can_be_used(folder, call):
    status, out, err = call("show", "out.png")
    assert (status, err) == (0, "")
    record = read_record("out.png")
    for words in ("content.png", "style.png", record.network_sha256, "48 pixels", "seed      5"):
        assert words in out
    assert "jaxnst-run --from out.png content.png style.png -o NEW.png" in out
    (folder / "shown.toml").write_text(out)
    assert read_recipe("shown.toml", base=base_recipe) == record.recipe


def test_show_escapes_what_could_steer_a_terminal(folder, call):
    record = read_record("out.png")
    source = dataclasses.replace(record.sources[0], role="x\ny", name="a\x1b[31m\x9b\nb = 1")
    recipe = dataclasses.replace(record.recipe, name="\x9b31m", summary="\x1b[0m\u2028")
    rewritten("out.png", sources=(source,), recipe=recipe, jaxnst="\x1b]0;x\x07")
    out = call("show", "out.png")[1]
    assert all(c.isprintable() for c in out.replace("\n", ""))
    (folder / "shown.toml").write_text(out)
    assert read_recipe("shown.toml", base=base_recipe) == recipe


@pytest.mark.parametrize("name", ["content.png", "none.png", "."])
def test_show_of_what_says_nothing_is_one_line(folder, call, name):
    status, out, err = call("show", name)
    assert (status, out) == (1, "") and re.fullmatch(r"jaxnst show: error: .+\n", err)


def test_what_differs_between_two_pictures(folder, call):
    assert call("show", "out.png", "out.png")[1] == (
        "out.png and out.png were made in the same way\n"
    )
    record = read_record("out.png")
    style = dataclasses.replace(record.recipe.style, weight=9.0)
    recipe = dataclasses.replace(record.recipe, style=style)
    picture = load_image("out.png")
    changed = dataclasses.replace(record, recipe=recipe, seed=6, arguments={"dpi": 300})
    save_image("b.png", picture, record=changed)
    assert call("show", "out.png", "b.png")[1].splitlines() == [
        "seed: 5 -> 6",
        f"bits: {record.arguments['bits']} -> none",
        "style.weight: 7.0 -> 9.0",
        "dpi: none -> 300",
    ]
    other = dataclasses.replace(changed, recipe=None, arguments={"command": "instant"})
    save_image("c.png", picture, record=other)
    assert f"recipe: {record.recipe.name} -> none" in call("show", "out.png", "c.png")[1]
    assert call("show", "out.png", "content.png")[0] == 1


# Other commands.


@pytest.mark.parametrize("command", ["instant", "apply", "sweep"])
def test_from_repeats_no_picture_of_another_command(folder, run, command):
    record = read_record("out.png")
    recipe = record.recipe if command == "sweep" else None
    rewritten("out.png", recipe=recipe, arguments={"command": command})
    words = f"--from: the picture was made by jaxnst {command}, and --from repeats only jaxnst run"
    refused(run("--from", "out.png", *GIVEN, "-o", "x.png"), 2, words)


def test_a_picture_that_was_stopped_is_repeated_to_its_end(folder, run, unpainted):
    rewritten("out.png", arguments={"stopped-after": 2})
    assert run("--from", "out.png", *GIVEN, "-o", "x.png")[0] == 0
    assert unpainted["recipe"].scales.steps == 3
    assert "stopped-after" not in read_record("x.png").arguments


# Batches.


@pytest.mark.parametrize("flag", ["--from=out.png", "--other-inputs"])
def test_a_batch_repeats_no_record(folder, call, flag):
    status, _, err = call(
        "batch", "--contents", "content.png", "--styles", "style.png", "--out", "x", flag
    )
    assert status == 2 and "only works with jaxnst run" in err


def test_a_batch_refuses_what_its_format_cannot_hold(folder, call):
    where = "batch", "--contents", "content.png", "--styles", "style.png", "--out", "x"
    status, _, err = call(*where, "--ending", ".jpg", "--bits", "16")
    assert status == 1 and "PNG and TIFF only" in err
    status, _, err = call(*where, "--quality", "50")
    assert status == 2 and "--quality" in err
    status, _, err = call("sweep", *GIVEN, "-o", "x.png", "--seed", "0,1", "--from", "out.png")
    assert status == 2 and "--from" in err


def test_a_record_is_json(folder):
    text = (folder / "out.png").read_bytes()
    at = text.index(b'{"jaxnst_record":2')
    assert json.JSONDecoder().raw_decode(text[at:].decode("latin-1"))[0]["seed"] == 5
