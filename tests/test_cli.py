"""The command line: in this process with a stand-in for the transfer, and as a process."""

import dataclasses
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Literal, get_args, get_origin

import helpers
import jax
import numpy as np
import pytest

import jaxnst
from jaxnst import cli
from jaxnst.cli import device, errors, help, inputs, job, messages, outputs, parser, watching
from jaxnst.cli import interrupt as stopping
from jaxnst.cli import option_types as values
from jaxnst.cli.progress import ProgressBar
from jaxnst.image import ENDINGS, load_image, read_record, save_image
from jaxnst.networks import NETWORKS
from jaxnst.recipes import RECIPES, get_recipe
from jaxnst.recipes.schema import LayerNames, LayerWeights, Scales, options
from jaxnst.transfer.pyramid import LEAST, make_schedule
from jaxnst.transfer.result import Progress, ScaleTiming, StylizeResult
from jaxnst.weights import write_parameters

ROOT = Path(jaxnst.__file__).parents[1]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A content and two styles in a folder that is the current one."""
    save_image(tmp_path / "content.png", helpers.picture(60, 80))
    save_image(tmp_path / "style.png", helpers.picture(90, 70, seed=1))
    save_image(tmp_path / "other.png", helpers.picture(70, 70, seed=2))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(outcome, status, *words):
    """One line on stderr that holds the words, nothing on stdout."""
    found, out, err = outcome
    assert (found, out) == (status, "")
    assert re.fullmatch(r"jaxnst-run: error: .+\n", err)
    for word in words:
        assert word in err
    return err


# Commands.


def test_a_reader_that_goes_away_is_no_error():
    command = [sys.executable, "-m", "jaxnst", "weights", "list"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""


def test_help_lists_the_commands(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--help"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    for name, what in cli.COMMANDS.items():
        assert f"  {name} " in out and what in out


def test_commands_have_modules_and_an_unknown_one_is_refused(capsys):
    assert cli.main(["rum"]) == 2
    err = capsys.readouterr().err
    names = ", ".join(cli.COMMANDS)
    words = f"unknown command 'rum': did you mean 'run'? expected one of {names}"
    assert err == f"jaxnst: error: {words}\n"
    assert {"run", "instant", "batch", "apply", "sweep", "train"} <= set(names.split(", "))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("photo.jpg", "painting.jpg"), "to paint pictures, use jaxnst run photo.jpg painting.jpg"),
        (("https://example.org/a.jpg", "b.jpg"), "jaxnst run https://example.org/a.jpg b.jpg"),
        (("stylize", "a", "b"), "did you mean 'run'?"),
        (("video", "a"), "did you mean 'apply'?"),
        (("resnet50",), "unknown command 'resnet50': expected one of run"),
        (("--size", "3"), "unknown flag --size"),
    ],
)
def test_words_that_are_no_command_lead_to_the_right_one(call, arguments, words):
    status, out, err = call(*arguments)
    assert (status, out, err.count("\n")) == (2, "", 1) and words in err


@pytest.mark.parametrize("command", [(), ("run",), ("train",), ("show",), ("weights",)])
def test_a_command_alone_shows_its_help(call, command):
    length = "-h" if command and command[0] in help.SHORT_HELP else "--help"
    status, out, err = call(*command)
    assert (status, out, err.rstrip()) == (2, "", call(*command, length)[1].rstrip())


def test_help_of_a_command_is_its_own(call):
    assert call("help", "cache") == call("cache", "--help")
    assert call("help", "weights", "fetch") == call("weights", "fetch", "--help")
    assert call("help") == call("--help")
    assert call("help", "tips") == call("run", "--tips")


@pytest.mark.parametrize("command", help.SHORT_HELP)
def test_the_short_help_has_examples_and_the_most_common_flags(call, command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    status, short, _ = call(command, "-h")
    _, full, _ = call(command, "--help")
    flags = help.SHORT_HELP[command].flags
    assert status == 0 and len(short) < len(full) and len(flags) <= 12
    assert all(f"{flag} " in short.replace(",", " ") and flag in full for flag in flags)
    assert short.count(f"\n  jaxnst {command} ") == 3
    assert max(map(len, (short + full).splitlines())) <= 80


def test_every_help_fits_80_columns_and_every_flag_is_explained(call, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    actions = "weights fetch", "weights convert", "reconstruct content", "reconstruct style"
    for command in [*cli.COMMANDS, *actions]:
        status, out, _ = call(*command.split(), "--help")
        assert status == 0 and max(map(len, out.splitlines())) <= 80, command
        assert not re.search(r"\n  -[^ ].{1,22}\n(  -|\n)", out), command
        assert command != "run" or all(name in out for name in RECIPES)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("jaxnst ", {"run", "batch", "cache"}),
        ("jaxnst ca", {"cache"}),
        ("jaxnst run --style-w", {"--style-weight"}),
        ("jaxnst run a.jpg b.jpg --colors l", {"linear"}),
        ("jaxnst batch --cont", {"--contents"}),
        ("jaxnst weights ver", {"verify"}),
        ("jaxnst train --upsampling ", {"resize", "transposed"}),
    ],
)
def test_a_shell_can_complete_commands_flags_and_choices(tmp_path, line, words):
    pytest.importorskip("argcomplete", reason="needs argcomplete")
    out = tmp_path / "out"
    code = """
import os, sys
os.dup2(os.open(sys.argv.pop(), os.O_CREAT | os.O_WRONLY), 8)
os.dup2(2, 9)
from jaxnst.cli import main
main([])
"""
    asked = {"_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\n", "COMP_LINE": line, "COMP_TYPE": "9"}
    asked |= {"COMP_POINT": str(len(line)), "_ARGCOMPLETE_SUPPRESS_SPACE": "1"}
    subprocess.run([sys.executable, "-c", code, out], env={**os.environ, **asked}, check=True)
    assert words <= {*out.read_text().split("\n")}


def test_info_names_versions_devices_and_the_cache(call, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    status, out, _ = call("info")
    facts = dict(line.split(None, 1) for line in out.splitlines())
    assert status == 0 and facts["jaxnst"] == jaxnst.__version__
    assert f"jax {jax.__version__}" in facts["libraries"] and "available" in facts["memory"]
    assert jax.devices()[0].platform in facts["devices"]
    if sys.platform.startswith("linux"):
        assert facts["cache"] == f"{tmp_path}/jaxnst, 0 bytes"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the folder is set as on Linux")
def test_the_cache_is_shown_and_cleared(call, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    folder = tmp_path / "jaxnst"
    assert call("cache") == (0, f"{folder}, 0 bytes\n", "")
    (folder / "jax-1").mkdir(parents=True)
    (folder / "jax-1" / "program").write_bytes(bytes(2048))
    (tmp_path / "others").write_text("stays")
    assert call("cache", "show") == (0, f"{folder}, 2 KiB\n", "")
    assert call("cache", "clear") == (0, "deleted 1 file, 2 KiB\n", "")
    assert [*folder.rglob("*")] == [folder / "jax-1"] and (tmp_path / "others").exists()
    (folder / "checkpoints").mkdir()
    for name in ("a.ck", "b.ck"):
        (folder / "checkpoints" / name).write_bytes(bytes(1024))
    (folder / "jax-1" / "program").write_bytes(bytes(2048))
    assert call("cache") == (0, f"{folder}, 2 KiB; 2 checkpoints, 2 KiB\n", "")
    left = "kept 2 checkpoints, 2 KiB (--checkpoints deletes them too)"
    assert call("cache", "clear") == (0, f"deleted 1 file, 2 KiB; {left}\n", "")
    assert call("cache", "clear", "--checkpoints") == (0, "deleted 2 files, 2 KiB\n", "")
    assert [*folder.rglob("*.ck")] == []
    assert call("cache", "--checkpoints")[0] == call("cache", "empty")[0] == 2
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "own"))
    assert call("cache") == (0, f"{tmp_path / 'own'}, 0 bytes\n", "")
    status, out, err = call("cache", "clear")
    assert (status, out) == (2, "") and "JAX_COMPILATION_CACHE_DIR names the folder " in err
    (folder / "jax-1" / "program").touch()
    (folder / "checkpoints" / "a.ck").write_bytes(bytes(1024))
    assert call("cache") == (0, f"{tmp_path / 'own'}, 0 bytes; 1 checkpoint, 1 KiB\n", "")
    assert call("cache", "clear", "--checkpoints") == (0, "deleted 1 file, 1 KiB\n", "")
    assert (folder / "jax-1" / "program").exists()


def test_jaxnst_run_is_jaxnst_run(capsys, run):
    with pytest.raises(SystemExit) as stop:
        cli.main(["run", "--size", "0", "a", "b"])
    assert stop.value.code == 2
    long = capsys.readouterr().err
    short = refused(run("--size", "0", "a", "b"), 2)
    assert long.replace("jaxnst run", "jaxnst-run") == short


# Flags.


OF_LAYERS = {
    LayerWeights: ("relu1_1:0.25, relu3_1", (("relu1_1", 0.25), ("relu3_1", 1.0))),
    LayerNames: ("relu1_1:gram,relu3_1:mean", (("relu1_1", "gram"), ("relu3_1", "mean"))),
}


def value_for(field, value):
    """Another value of a field, as text and as it is read."""
    choices = field.metadata.get("choices")
    kinds = [field.type, *get_args(field.type)]
    choices = choices or next((get_args(k) for k in kinds if get_origin(k) is Literal), None)
    if choices:
        other = next(choice for choice in choices if choice != value)
        return other, other
    if isinstance(value, str):
        return "noise", "noise"
    if field.type == tuple[int, ...] | None:
        return "64,128", (64, 128)
    if field.type in OF_LAYERS:
        return OF_LAYERS[field.type]
    number = 7 if field.type == int | None else 0.25
    return str(number), number


@pytest.mark.parametrize("flag", options(get_recipe("default")))
def test_every_field_with_a_flag_can_be_set_and_is_explained(flag, run):
    path, field, value = options(get_recipe("default"))[flag]
    text, wanted = value_for(field, value)
    beside = ["--optimizer", "adam"] if flag == "--average" else []
    _, recipe = parser.parse(["a", "b", flag, text, *beside], "jaxnst-run")
    found = recipe
    for name in path:
        found = getattr(found, name)
    assert found == wanted and found != value
    status, out, _ = run("--help")
    assert status == 0 and flag in out
    assert field.metadata["help"].split()[0] in out


def test_what_is_not_said_stays_as_the_recipe_has_it():
    flags, recipe = parser.parse(["a", "b"], "jaxnst-run")
    assert recipe == get_recipe("default")
    assert (flags.size, flags.seed, flags.style_size, flags.output) == (512, 0, None, "a-b.png")


def test_scales_given_are_the_size_too():
    for arguments, size in (("--scales", "64,128"), None), (("--scales", "auto"), 512):
        flags, recipe = parser.parse(["a", "b", *arguments], "jaxnst-run")
        assert flags.size == size and recipe.scales.sides == ((64, 128) if size is None else ())
    flags, recipe = parser.parse(["a", "b", "--recipe", "gatys2016"], "jaxnst-run")
    assert flags.size is None and recipe.scales.sides is None


def test_defaults_in_the_help_are_those_of_the_recipe_named(run, monkeypatch):
    other = dataclasses.replace(get_recipe("default"), name="other", summary="Another one.")
    other = dataclasses.replace(other, style=dataclasses.replace(other.style, weight=12.5))
    monkeypatch.setitem(parser.RECIPES, "other", other)
    assert "12.5" in run("--recipe", "other", "--help")[1]
    assert "12.5" not in run("--help")[1]
    assert re.search(r"^other +Another one\.$", run("--list-recipes")[1], re.MULTILINE)


@pytest.mark.parametrize(
    ("recipe", "flag", "default"),
    [
        ("pytorch-vgg19-adam", "--learning-rate", "0.003"),
        ("default", "--learning-rate", "1 for lbfgs, 0.02 for adam"),
        ("gatys2016", "--pooling", "avg"),
        ("gatys2016", "--padding", "zero"),
        ("default", "--padding", "edge"),
        ("default", "--pooling", "its own"),
        ("wasserstein", "--average", "0.99"),
    ],
)
def test_a_default_that_the_help_describes_is_the_recipe_s_where_that_sets_it(
    run, recipe, flag, default
):
    out = " ".join(run("--recipe", recipe, "--help")[1].split())
    text = out.partition(f" method (defaults are those of the recipe '{recipe}')")[2]
    text = text.partition(f" {flag} ")[2]
    assert text.partition("(default: ")[2].startswith(f"{default})"), text[:200]


def test_flags_may_stand_between_the_pictures():
    flags, _ = parser.parse(["a", "-o", "o.png", "b", "--seed", "3", "c"], "jaxnst-run")
    assert (flags.content, flags.styles, flags.output, flags.seed) == ("a", ["b", "c"], "o.png", 3)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--quiet",), ("missing CONTENT, STYLE",)),
        (("a", "b", "--size", "0"), ("--size", "0 is out of range", "16 to")),
        (("a", "b", "--size", "-5"), ("--size", "-5")),
        (("a", "b", "--size", "100000"), ("--size", "100000")),
        (("a", "b", "--size", "5.5"), ("--size", "'5.5' is not a whole number")),
        (("a", "b", "--style-size", "15"), ("--style-size",)),
        (("a", "b", "--save-every", "0"), ("--save-every", "at least 1")),
        (("a", "b", "--seed", "-1"), ("--seed",)),
        (("a", "b", "--steps", "0"), ("steps is 0",)),
        (("a", "b", "-o", "o.png", "--steps", "1"), ("steps is 1", "one for each of")),
        (("a", "b", "--scales", "64,x"), ("--scales", "'x' is not a whole number")),
        (("a", "b", "--scales", "15,64"), ("--scales", "15 is out of range")),
        (("a", "b", "--scales", "64,64"), ("scales is (64, 64)", "increasing")),
        (
            ("a", "b", "-o", "o.png", "--scales", "64,96", "--size", "128"),
            ("size is 128, but the scales end at 96",),
        ),
        (("a", "b", "--style-weight", "-1"), ("style weight is -1.0",)),
        (("a", "b", "--style-weight", "nan"), ("style weight is nan",)),
        (("a", "b", "--style-weight", "x"), ("--style-weight", "'x' is not a number")),
        (("a", "b", "--style-layers", "relu1_1:x"), ("--style-layers", "'x' is not a number")),
        (("a", "b", "--style-layers", ""), ("--style-layers", "LAYER:WEIGHT")),
        (("a", "b", "--style-weight", "1e300"), ("style weight is 1e+300", "0 to 1e+30")),
        (("a", "b", "--style-layers", "relu1_1,relu1_1"), ("name a layer twice",)),
        (("a", "b", "--style-statistics", "gram"), ("--style-statistics", "LAYER:NAME")),
        (("a", "b", "--style-mix", "1,x"), ("--style-mix", "'x' is not a number")),
        (("a", "b", "-o", "o.png", "--style-mix", "1", "--style-mix", "2"), ("given twice",)),
        (("a", "b", "--style-scale", "0"), ("style scale is 0",)),
        (("a", "b", "--optimizer", "sgd"), ("--optimizer", "sgd", "lbfgs", "adam")),
        (("a", "b", "--recipe", "defualt"), ("defualt", "did you mean 'default'")),
        (("a", "b", "--stylesize", "64"), ("--stylesize", "did you mean --style-size?")),
        (("a", "b", "--style-siz", "64"), ("did you mean --style-size?",)),
        (("a", "b", "--device", "gpuu"), ("--device", "gpuu", "gpu:1")),
        (("a", "b", "--device", "gpu:"), ("--device",)),
        (("a", "b", "-o", "o.png", "--init", "contnet"), ("contnet", "did you mean 'content'?")),
    ],
)
def test_wrong_flags(run, arguments, words):
    refused(run(*arguments), 2, *words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--iterations", "500"), "did you mean --steps?"),
        (("--num-iterations=500",), "did you mean --steps?"),
        (("-num_iterations", "500"), "did you mean --steps?"),
        (("-i", "500"), "did you mean --steps?"),
        (("--image-size", "512"), "did you mean --size?"),
        (("--max_size", "512"), "did you mean --size?"),
        (("--style_weight", "3"), "did you mean --style-weight?"),
        (("-seed", "3"), "did you mean --seed?"),
        (("--lr", "3"), "did you mean --learning-rate?"),
        (("--preserve-colors",), "did you mean --colors?"),
        (("--szie", "512"), "did you mean --size?"),
        (("--content", "a"), "unknown flag --content: pictures need no flag"),
        (("--style_image", "a"), "unknown flag --style_image: pictures need no flag"),
        (("--cpu",), "did you mean --device?"),
        (("--print-iterations", "9"), "flag --print-iterations: jaxnst-run --help lists all flags"),
        (("--backend", "nn"), "unknown flag --backend: jaxnst-run --help lists all flags"),
    ],
)
def test_flags_of_other_programs_lead_to_the_right_one(run, arguments, words):
    refused(run("a.jpg", "b.jpg", *arguments), 2, words)


def test_an_unknown_flag_is_named_before_pictures_are_missed(run, call):
    refused(run("-content_image", "a", "-style_image", "b"), 2, "unknown flag -content_image: pic")
    refused(run("a", "b", "-output_image", "c"), 2, "unknown flag -output_image: did you mean --o")
    refused(run("--list"), 2, "unknown flag --list: ")
    refused(run("a"), 2, "missing STYLE: jaxnst-run -h shows examples")
    err = call("instant", "a", "b", "--style-weight", "5")[2]
    assert err == "jaxnst instant: error: unknown flag --style-weight: did you mean --alpha?\n"


def test_a_folder_in_the_place_of_a_picture_leads_to_batch(folder, run, call):
    os.mkdir("photos")
    words = "photos is a folder, expected a picture: to paint whole folders, use jaxnst batch"
    for pictures in (("photos", "style.png"), ("content.png", "photos")):
        refused(run(*pictures), 1, words)
    assert words in call("instant", "style.png", "photos", "-o", "out")[2]


def test_a_film_and_a_network_of_another_kind_lead_to_what_is_meant(folder, run, call):
    refused(run("film.mp4", "style.png"), 2, "film.mp4 is a film: to paint films, use jaxnst apply")
    status, _, err = call("apply", "content.png", "style.png", "-o", "out.png")
    assert status == 2 and "give the model first" in err and "use jaxnst run" in err
    given = "content.png", "style.png", "-o", "out.png", "--quiet"
    err = refused(run(*given, "--network", "resnet50"), 2, "network 'resnet50': expected one of")
    assert "did you mean" not in err
    shapes = NETWORKS["squeezenet1.1"].module.shapes()
    write_parameters("other.safetensors", {k: np.zeros(s, np.float32) for k, s in shapes.items()})
    words = "other.safetensors holds the parameters of squeezenet1.1, not of vgg16-lite: add "
    refused(run(*given, "--weights", "other.safetensors"), 1, words + "--network squeezenet1.1")


@pytest.mark.parametrize(("weight", "count"), [(1e6, 1), (0.001, 1), (30, 0), (0, 0)])
def test_a_style_weight_of_another_program_is_pointed_out(capsys, weight, count):
    flags, recipe = parser.parse(["a", "b", "--style-weight", str(weight)], "jaxnst-run")
    inputs.report_flags(flags, recipe, messages.Messages("jaxnst-run", quiet=False))
    err = capsys.readouterr().err
    assert err.count("weights of other programs are on another scale") == count


def test_a_result_without_a_name_is_named_after_its_pictures(painted, folder):
    for sources, name in (
        (["a/b-1.c.jpg", "-"], "b-1.c.png"),
        (["-", "https://example.org/a.jpg?b=c.png"], "a.png"),
        (["https://example.org/", "-"], "picture.png"),
    ):
        assert parser.parse(sources, "jaxnst-run")[0].output == name
    status, out, _, _ = painted("--quiet")
    assert (status, out) == (0, "content-style.png\n") and (folder / out.strip()).exists()


def test_least_size_is_that_of_a_schedule():
    assert values.SIZES[0] == LEAST


# Files, networks, devices.


def test_wrong_files(folder, run):
    (folder / "words.jpg").write_text("This is no picture.")
    save_image("small.png", helpers.picture(15, 40))
    save_image("content.png", before := helpers.picture(60, 80))
    cases = [
        (("missing.jpg", "style.png", "-o", "out.png"), ("missing.jpg does not exist",)),
        (("content.png", "words.jpg", "-o", "out.png"), ("words.jpg",)),
        (("content.png", "small.png", "-o", "out.png"), ("small.png is 40x15", "16")),
        (("content.png", ".", "-o", "out.png"), (". is a folder",)),
        (("content.png", "style.png", "-o", "out.pgn"), (".pgn", ".png")),
        (("content.png", "style.png", "-o", "no/out.png"), ("does not exist",)),
        (("content.png", "style.png", "-o", "out.png", "--init", "no.png"), ("no.png",)),
        (("content.png", "style.png", "-o", "out.png", "--weights", "no"), ("no does not exist",)),
    ]
    there = sorted(os.listdir())
    for arguments, words in cases:
        refused(run(*arguments, "--quiet"), 1, *words)
    refused(run("content.png", "style.png", "-o", "./content.png"), 2, "overwrite")
    assert sorted(os.listdir()) == there
    np.testing.assert_allclose(load_image("content.png"), before, atol=0.5 / 255 + 1e-6)


@pytest.mark.parametrize(
    "flags",
    [
        ("-o", "n" * 252 + ".png"),
        ("-o", "n" * 248 + ".png", "--save-every", "5"),  # its numbers make it too long
        ("-o", "n" * 246 + ".png", "--save-every", "5", "--steps", "100000"),
        *(
            ("-o", "out.png", flag, "n" * 252 + ending)
            for flag, ending in (
                ("--checkpoint", ".run"),
                ("--log", ".json"),
                ("--plot", ".svg"),
                ("--animate", ".gif"),
                ("--side-by-side", ".png"),
            )
        ),
    ],
    ids=lambda flags: " ".join(flag[-20:] for flag in flags),
)
def test_names_that_are_too_long_are_refused_before_any_work(folder, run, monkeypatch, flags):
    if "--plot" in flags:
        pytest.importorskip("matplotlib", reason="needs Matplotlib")
    monkeypatch.setattr("jaxnst.cli.inputs.load_with_notices", None)
    there = sorted(os.listdir())
    outcome = run("content.png", "style.png", "--quiet", *flags)
    refused(outcome, 1, "cannot be written (File name too long): choose another name")
    assert sorted(os.listdir()) == there


def test_unknown_network_and_network_without_parameters(folder, run):
    given = "content.png", "style.png", "-o", "out.png", "--quiet"
    refused(run(*given, "--network", "vgg16-light"), 2, "did you mean 'vgg16-lite'?")
    refused(run(*given, "--network", "vgg19"), 2, "--weights FILE")
    refused(run(*given, "--network", "vgg19-lite"), 2, "use --network vgg16-lite")
    words = "vgg16-lite has no layer relu9_1: jaxnst reconstruct layers --network vgg16-lite lists"
    refused(run(*given, "--style-layers", "relu9_1"), 2, words)


def test_a_device_that_is_not_there(folder, run, monkeypatch):
    monkeypatch.setattr(jax, "devices", fake_devices({"cpu": 1, "gpu": 2}))
    given = "content.png", "style.png", "-o", "out.png", "--quiet"
    err = refused(run(*given, "--device", "gpu:2"), 2, "there is no gpu:2")
    assert "cpu:0, gpu:0, gpu:1" in err
    monkeypatch.setattr(jax, "devices", fake_devices({"cpu": 1}))
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    refused(run(*given, "--device", "tpu"), 2, "there is no tpu:0", "jaxnst[tpu]")


def test_deterministic_tells_xla_before_a_device_is_used(monkeypatch):
    from jaxnst.cli.device import use_device

    monkeypatch.setenv("XLA_FLAGS", "--xla_one=1")
    seen, there = [], jax.devices()
    monkeypatch.setattr(jax, "devices", lambda: seen.append(os.environ["XLA_FLAGS"]) or there)
    for deterministic in (False, True):
        use_device(None, deterministic=deterministic)
    assert seen == ["--xla_one=1", "--xla_one=1 --xla_gpu_deterministic_ops=true"]


def test_a_batch_is_divided_between_all_devices_unless_one_is_named(monkeypatch):
    from jaxnst.cli.device import devices_beside
    from jaxnst.cli.option_types import device

    one, asked = jax.devices()[0], []
    monkeypatch.setattr(jax, "local_devices", lambda backend: asked.append(backend) or [one] * 2)
    for wanted in (None, device("gpu")):
        assert devices_beside(one, wanted) == [one, one]
    assert asked == [one.platform] * 2
    assert device("gpu:0") == ("gpu", 0) and devices_beside(one, device("gpu:0")) == [one]


def fake_devices(counts):
    """``jax.devices`` of another machine."""

    def devices(kind="cpu"):
        if kind not in counts:
            raise RuntimeError(f"Unknown backend {kind}\nand more")
        return [object()] * counts[kind]

    return devices


# Errors.


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (KeyError("unknown layer 'relu9_9'"), "unknown layer 'relu9_9'"),
        (ValueError("one\n  two"), "one two"),
        (FileNotFoundError(2, "No such file or directory", "a.png"), "a.png does not exist"),
        (OSError("out.png could not be saved"), "out.png could not be saved"),
        (MemoryError(), "smaller --size"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating"), "smaller --size"),
        (ZeroDivisionError("division by zero"), "ZeroDivisionError: division by zero (--debug"),
    ],
)
def test_errors_are_one_line_without_traceback(capsys, error, text):
    def work():
        raise error

    assert errors.guarded("jaxnst-run", work, debug=False) == 1
    out, err = capsys.readouterr()
    assert out == "" and re.fullmatch(r"jaxnst-run: error: .+\n", err)
    assert text in err and "Traceback" not in err


def test_debug_shows_the_traceback_and_keeps_status_and_last_line(capsys):
    def work():
        raise errors.UsageError("no such thing")

    assert errors.guarded("jaxnst-run", work, debug=True) == 2
    err = capsys.readouterr().err
    assert "Traceback" in err and err.endswith("jaxnst-run: error: no such thing\n")


# A run, with a stand-in for the transfer.


def stand_in(more, size=(48, 64)):
    """Behave as ``stylize`` does towards who listens: two scales, a number at every pixel."""
    picture = np.full((*size, 3), 0.5, np.float32)
    news = [("compile", 0, 0), ("optimize", 0, 1), ("optimize", 0, 10), ("compile", 1, 0)]
    news += [("optimize", 1, 5), ("optimize", 1, 6)]
    for i, (phase, scale, count) in enumerate(news):
        more["callback"](
            Progress(
                phase=phase,
                scale=scale,
                scales=2,
                size=(24 * (scale + 1), 32 * (scale + 1)),
                evaluations=count,
                scale_evaluations=(10, 6)[scale],
                total_done=10 * scale + count,
                total=16,
                losses={} if count == 0 else {"total": 3.0, "content": 2.0, "style": 1.0},
                image=lambda: picture,
                seconds=10.0 * i,
            )
        )
    timings = ScaleTiming((24, 32), 1.5, 10.0, 10), ScaleTiming((48, 64), 0.5, 20.0, 6)
    return StylizeResult(picture, {}, 16, 1, 2.0, 30.0, timings)


@pytest.fixture
def painted(folder, run, monkeypatch):
    """Call ``jaxnst-run`` with the stand-in; also gives what the transfer was asked for."""
    asked, recipe = {}, get_recipe("default")
    two = dataclasses.replace(recipe, name="two", scales=Scales(least=32, evaluations=(10, 6)))
    monkeypatch.setitem(parser.RECIPES, "two", two)

    def stylize(content, styles, **more):
        asked.update(more, content=content, styles=styles)
        return stand_in(more)

    monkeypatch.setattr(job, "stylize", stylize)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)

    def call(*arguments):
        given = "content.png", "style.png", "--size", 64, "--recipe", "two", "--no-cache"
        return *run(*given, *arguments), asked

    return call


def test_a_run_ends_with_the_path_and_reports_on_stderr(painted, folder):
    status, out, err, asked = painted(
        *("-o", "out.png", "--style-weight", "20", "--seed", "4", "--init", "noise")
    )
    assert (status, out) == (0, "out.png\n")
    assert load_image("out.png").shape == (48, 64, 3)
    assert asked["recipe"].style.weight == 20 and asked["seed"] == 4
    assert asked["network"].name == "vgg16-lite" and asked["size"] == 64
    assert len(asked["styles"]) == 1 and asked["init"] is None
    first, second, *rest, saved, stronger, larger, tips = err.splitlines()
    assert first.startswith(
        "Painting content.png in the manner of style.png, 64x48, vgg16-lite on "
        f"{jax.devices()[0].platform}"
    )
    assert "recipe two, 16 evaluations; compiling takes" in second
    assert rest[0] == "  0%  0/16 evaluations, compiling"
    assert rest[-1] == "100%  16/16 evaluations  loss 3 = content 2 + style 1"
    words = r"saved out\.png after .*, of which 2 s compiling; 16 evaluations, 1 step taken back"
    assert re.fullmatch(words, saved)
    again = "jaxnst-run --from out.png content.png style.png"
    assert stronger == f"stronger style: {again} --style-weight 60 -o out-stronger.png"
    assert larger == f"larger: {again} --size 80 -o out-80.png"
    assert tips == "not what you wanted? jaxnst-run --tips"
    for more in ("--quiet", "--json"):
        assert "--tips" not in "".join(painted("-o", "out.png", more)[1:3])


def test_what_the_last_lines_suggest_can_be_run(painted, run):
    """Also with what a record does not name: weights and the device."""
    given = ("--device", "cpu", "--mask", "content.png", "--init", "other.png")
    err = painted("-o", "my out.png", *given)[2]
    stronger, larger = (shlex.split(line.partition(": ")[2]) for line in err.splitlines()[-3:-1])
    assert painted("-o", "second.jpg")[2].splitlines()[-2].startswith("larger: ")
    for command, name in ((stronger, "my out-stronger.png"), (larger, "my out-80.png")):
        assert run(*command[1:], "--no-cache", "--quiet")[:2] == (0, f"{name}\n")
    record = read_record("my out-stronger.png")
    assert (record.recipe.style.weight, record.size) == (15, 64)
    assert read_record("my out-80.png").size == 80
    # Where nothing can be repeated, nothing is suggested.
    for more in (("--no-metadata", "-o", "a.png"), ("-o", "a.bmp")):
        assert painted(*more)[2].splitlines()[-2].startswith("saved a.")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--style-weight", "1e6"), "--style-weight 1e+06 is 200,000 times the recipe's 5"),
        (("--tv-weight", "0.0001"), "--tv-weight 0.0001 is 1/15,000 of the recipe's 1.5"),
        (("--style-weight", "1400"), None),
        (("--style-weight", "0"), None),
    ],
)
def test_odd_weights_are_pointed_out_and_used(painted, flags, words):
    status, _, err, _ = painted("-o", "out.png", *flags)
    notices = [line for line in err.splitlines() if "of other programs are" in line]
    assert status == 0 and len(notices) == (words is not None)
    assert words is None or f"notice: {words}" in notices[0]


def test_precision_is_that_of_the_network(painted, run):
    assert painted("-o", "out.png")[-1]["network"].precision == "float32"
    assert (
        painted("-o", "out.png", "--precision", "bfloat16")[-1]["network"].precision == "bfloat16"
    )
    status, _, err = run("content.png", "style.png", "-o", "out.png", "--precision", "half")
    assert status == 2 and "--precision" in err and "tf32" in err


def test_timings_are_told_a_scale_a_line(painted):
    status, out, err, _ = painted("-o", "out.png", "--quiet", "--timings")
    assert (status, out) == (0, "out.png\n")
    assert err.splitlines() == [
        "scale  pixels  waited      ran  evaluations       each",
        "    1   32x24  1.50 s  10.00 s           10  1000.0 ms",
        "    2   64x48  0.50 s  20.00 s            6  3333.3 ms",
    ]


def test_quiet_prints_the_path_alone(painted):
    assert painted("-o", "out.png", "--quiet")[:3] == (0, "out.png\n", "")


def test_pictures_on_the_way_are_numbered(painted, folder):
    painted("-o", "out.png", "--save-every", "5", "--quiet")
    # The stand-in reports after 1, 10, 15 and 16 evaluations.
    assert sorted(p.name for p in folder.glob("out*")) == [
        "out-0010.png",
        "out-0015.png",
        "out.png",
    ]


def test_a_picture_to_start_from_is_loaded(painted):
    asked = painted("-o", "out.png", "--init", "other.png")[3]
    np.testing.assert_array_equal(asked["init"], load_image("other.png"))


def test_a_picture_to_start_from_of_another_shape_is_given_notice_of(painted, folder):
    for size, expected in (((60, 40), 1), ((61, 80), 0), ((90, 120), 0)):
        save_image("start.png", helpers.picture(*size))
        err = painted("-o", "out.png", "--init", "start.png")[2]
        assert err.count("of another shape than the result: it is stretched to 64x48") == expected
    save_image("start.png", helpers.picture(64, 64))  # of a recipe's own shape
    (folder / "square.toml").write_text('base = "default"\n[scales]\naspect = 1.0\n')
    err = painted("-o", "out.png", "--init", "start.png", "--recipe", "square.toml")[2]
    assert "start.png is" not in err


def test_a_seed_without_effect_is_given_notice_of(painted):
    words = "notice: --seed has no effect on a start from content: it is for --init noise and"
    assert words in painted("-o", "out.png", "--seed", "0")[2]
    assert words not in painted("-o", "out.png")[2]
    for start in ("noise", "style-colors"):
        assert "--seed" not in painted("-o", "out.png", "--seed=3", "--init", start)[2]
    # A record holds the seed of its run, which nobody asks for when that is repeated.
    assert "--seed" not in painted("-o", "new.png", "--from", "out.png", "--init", "content")[2]


def test_small_pictures_are_given_notice_of(painted):
    err = painted("-o", "out.png", "--size", "100", "--style-size", "90")[2]
    notices = [line for line in err.splitlines() if line.startswith("jaxnst-run: notice: ")]
    words = "content.png is 80x60, smaller than the result: it is enlarged to 100x75"
    assert [words in line for line in notices] == [True]
    err = painted("-o", "out.png", "--style-size", "91")[2]
    assert "style.png is 70x90, smaller than 91 pixels: styles are not enlarged" in err


def test_warnings_of_libraries_become_notices(painted, monkeypatch):
    def stylize(*_, **more):
        warnings.warn("two\nlines", stacklevel=1)
        return stand_in(more)

    monkeypatch.setattr(job, "stylize", stylize)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        err = painted("-o", "out.png")[2]
    assert "jaxnst-run: notice: two lines\n" in err


def test_a_result_that_cannot_be_saved_is_saved_elsewhere(painted, tmp_path, monkeypatch):
    def full(path, image, **options):
        if Path(path).parent == Path():
            raise OSError(28, "No space left on device", str(path))
        save_image(path, image, **options)

    monkeypatch.setattr(outputs, "save_image", full)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    status, out, err, _ = painted("-o", "out.png", "--quiet")
    assert (status, out) == (1, "") and "No space left" in err
    (refuge,) = tmp_path.glob("jaxnst-*/out.png")
    assert str(refuge) in err and load_image(refuge).shape == (48, 64, 3)


WIDE = np.linspace(0, 1, 16384 * 3, dtype=np.float32).reshape(1, 16384, 3)
"""A picture wider than a WebP file can be, but not than --size allows."""


@pytest.mark.parametrize("output", ["out.webp", "-"])
def test_a_result_that_its_format_cannot_hold_is_saved_as_png(tmp_path, monkeypatch, output):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    given = ["a", "b", "-o", output, *(["--format", "webp"] if output == "-" else [])]
    flags, _ = parser.parse(given, "jaxnst-run")
    with pytest.raises(OSError, match="cannot hold this picture of 16384x1 pixels as WEBP") as told:
        outputs.hand_over(flags, WIDE, messages.Messages("jaxnst-run", quiet=True))
    (refuge,) = temporary.rglob("*.png")
    assert f"; the picture is in {refuge}" in str(told.value)
    np.testing.assert_allclose(load_image(refuge), WIDE, atol=0.5 / 255)
    assert list(temporary.iterdir()) == [refuge.parent]


def test_a_result_whose_16_bits_cannot_be_written_is_saved_with_8(tmp_path, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("the encoder failed")

    monkeypatch.setattr("jaxnst.image.writing.encode_tiff", broken)
    monkeypatch.setattr("jaxnst.image.writing.check_deep", lambda _: None)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(OSError, match=r"the encoder failed.*; the picture is in .*out\.png"):
        outputs.save_picture("out.tif", WIDE[:, :20], bits=16)
    (refuge,) = tmp_path.glob("jaxnst-*/out.png")
    assert load_image(refuge).shape == (1, 20, 3)


def test_what_no_file_can_hold_leaves_no_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(ValueError, match="NaN"):
        outputs.save_picture("out.jpg", np.full((4, 4, 3), np.nan, np.float32))
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("jaxnst-")]


def test_a_full_disk_is_one_line_and_leaves_nothing(painted, folder, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device", "out.png")

    monkeypatch.setattr("os.fsync", full)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    there = sorted(os.listdir())
    status, out, err, _ = painted("-o", "out.png", "--quiet")
    assert (status, out) == (1, "") and err.count("\n") == 1 and "No space left" in err
    assert sorted(os.listdir()) == there


def test_an_error_inside_the_transfer_is_one_line(painted, monkeypatch):
    def stylize(*_, **__):
        raise ValueError("style 1 image is odd")

    monkeypatch.setattr(job, "stylize", stylize)
    status, out, err, _ = painted("-o", "out.png", "--quiet")
    assert (status, out, err) == (1, "", "jaxnst-run: error: style 1 image is odd\n")


def test_dry_run_says_what_a_run_takes_and_paints_nothing(painted, folder, monkeypatch):
    pace = "jaxnst.cli.fitting.measure_pace"
    monkeypatch.setattr(pace, lambda *_: jaxnst.transfer.memory.Pace(2e9, 10.0))
    monkeypatch.setattr("jaxnst.cli.fitting.loop_footprint", lambda *_, **__: 10**8)
    status, out, _, asked = painted("--dry-run", "--size", "128", "--steps", "44")
    assert status == 0 and not asked
    facts = dict(line.split(None, 1) for line in out.splitlines() if "scale" not in line)
    assert facts["size"] == "128x96 pixels" and facts["evaluations"].startswith("44 ")
    assert "scale 1     32x32, 20 evaluations" in out and "scale 3     128x96, 12 " in out
    first, again = map(
        float, re.search(r"about ([\d.]+) .iB, and ([\d.]+)", facts["memory"]).groups()
    )
    assert first != again and facts["memory"].endswith(" available")
    first, again = map(int, re.search(r"about (\d+) s, and (\d+) s once", facts["time"]).groups())
    assert first >= again + 10
    assert not list(folder.glob("out*"))


# Progress.


def loud():
    return messages.Messages("jaxnst-run", quiet=False)


def test_time_left_follows_from_pixels(capsys):
    scales = Scales(least=128, evaluations=(100, 80))
    schedule = make_schedule((64, 64), [], scales, size=256)
    assert [s.inner for s in schedule.scales] == [(128, 128), (256, 256)]
    display = watching.Display(schedule, loud())
    # 100 and 80 evaluations, the latter of four times the pixels: 100 + 320 units.
    news = Progress("optimize", 0, 2, (128, 128), 10, 100, 10, 180, {}, lambda: None, 1.0)
    display(news)
    assert display.bar.left(schedule.share(0, 0.1), 1.0) == ""
    assert schedule.share(0, 0.52) == pytest.approx(52 / 420)
    assert schedule.share(1, 0.5) == pytest.approx(260 / 420)
    assert display.bar.left(schedule.share(0, 0.52), 43.0) == "6:08 left"
    assert display.bar.left(0.035, 100.0) == "2:22:17 left"


def test_time_left_is_at_the_pace_of_the_latter_half(capsys):
    """At the first sizes programs are compiled beside, for which nothing is extrapolated."""
    bar = ProgressBar(loud())
    for share, seconds in ((0.0, 0.0), (0.005, 90.0), (0.01, 100.0), (0.02, 110.0), (0.04, 120.0)):
        bar.update(share, "", seconds=seconds)
        if share == 0.005:
            assert bar.left(share, seconds) == ""
    assert bar.left(0.04, 120.0) == "8:00 left"
    resumed = ProgressBar(loud())
    for share, seconds in ((0.5, 0.0), (0.505, 30.0), (0.52, 40.0)):
        resumed.update(share, "", seconds=seconds)
    assert resumed.left(0.52, 40.0) == "5:20 left"


def test_plain_lines_come_every_few_seconds(capsys, monkeypatch):
    schedule = make_schedule((64, 64), [], Scales(evaluations=(100,)), size=128)
    now = 0.0
    monkeypatch.setattr("jaxnst.cli.progress.time.monotonic", lambda: now)
    display = watching.Display(schedule, loud())
    news = Progress("compile", 0, 1, (128, 128), 0, 100, 0, 100, {}, lambda: None, 0.0)
    display(news)
    for i in range(1, 101):
        now = i / 10
        display(news._replace(phase="optimize", evaluations=i, total_done=i, seconds=now))
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "  0%  0/100 evaluations, compiling",
        " 50%  50/100 evaluations  0:05 left",
        "100%  100/100 evaluations",
    ]
    display(news._replace(phase="optimize", evaluations=103, total_done=103, seconds=10.1))
    assert "103/100" in capsys.readouterr().err  # the last line search went on


def test_plain_lines_come_after_every_round(capsys):
    schedule = make_schedule((64, 64), [], Scales(evaluations=(63,)), size=128)
    display = watching.Display(schedule, loud())
    losses = {"total": 3.0, "content": 1.0, "style": 2.0}
    news = Progress("optimize", 0, 1, (128, 128), 0, 63, 0, 63, losses, lambda: None, 0.0)
    for i in range(1, 64):
        display(news._replace(evaluations=i, total_done=i, seconds=i / 100, rounds=i // 21))
    lines = capsys.readouterr().err.splitlines()
    words = r"(\d+)/63 evaluations, round (\d).*  loss 3 = content 1"
    assert [re.search(words, line).groups() for line in lines] == [
        ("21", "1"),
        ("42", "2"),
        ("63", "3"),
    ]


@pytest.mark.parametrize("columns", [80, 160])
def test_the_bar_fits_a_terminal(columns, monkeypatch):
    """What does not fit beside the bar is left out: first the terms of the loss."""
    stream = io.StringIO()
    stream.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    bar = ProgressBar(loud())
    more = "loss 3.21e+03 = content 1.2e+02 + style 3.1e+03 + tv 0.12", "loss 3.21e+03"
    bar.update(0, "0/300 evaluations", more, seconds=0)
    bar.update(0.25, "75/300 evaluations", more, seconds=60)
    bar.close()
    lines = re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", stream.getvalue()).replace("\r", "\n").split("\n")
    line = next(text for text in reversed(lines) if "75/300" in text)
    assert len(line) <= columns and line.startswith(" 25%") and "3:00 left" in line
    assert more[columns < 100] in line and ("style" in line) == (columns > 100)


def test_what_is_said_does_not_steer_a_terminal(capsys):
    said = messages.Messages("jaxnst-run", quiet=False)
    said.info("recipe \x1b[2Jmine\r\nnext")
    assert capsys.readouterr().err == "recipe  [2Jmine  next\n"


def test_lengths_amounts_and_shapes():
    assert [messages.length(s) for s in (0.4, 59.4, 75, 7260)] == [
        *("0 s", "59 s", "1 min 15 s", "2 h 1 min"),
    ]
    assert (messages.amount(2**29), messages.amount(3 * 2**29)) == ("512 MiB", "1.5 GiB")
    assert messages.shape((384, 512)) == "512x384"


# Stopping.


def test_work_that_nobody_stops_returns_or_raises_and_signals_are_as_before():
    before = [signal.getsignal(each) for each in stopping.SIGNALS]
    assert stopping.stoppable(lambda: 5) == 5
    with pytest.raises(ValueError, match="why"):
        stopping.stoppable(lambda: (_ for _ in ()).throw(ValueError("why")))
    assert [signal.getsignal(each) for each in stopping.SIGNALS] == before


def stopped_by(number):
    release, ended = threading.Event(), []

    def work():
        time.sleep(0.1)
        os.kill(os.getpid(), number)
        release.wait(60)
        ended.append(True)

    with pytest.raises(stopping.Stopped) as stop:
        stopping.stoppable(work)
    assert not ended, "the signal waited for the work"
    release.set()
    return stop.value.status


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_interrupts_the_wait_and_a_second_one_everything(signals, number, status):
    assert stopped_by(number) == status
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize("name", ["SIGHUP", "SIGXCPU", "SIGUSR1", "SIGUSR2"])
def test_other_signals_stop_a_run_and_those_that_follow_do_not_force_it(signals, name):
    number = getattr(signal, name)
    assert stopped_by(number) == 128 + number
    for following in (number, signal.SIGHUP, signal.SIGTERM):
        signal.raise_signal(following)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGHUP")
def test_a_run_that_ignores_hangups_goes_on(signals):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def work():
        os.kill(os.getpid(), signal.SIGHUP)
        time.sleep(0.2)
        return "done"

    assert stopping.stoppable(work) == "done"
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_result_is_saved_in_spite_of_a_first_signal(signals, name):
    before = [signal.getsignal(each) for each in stopping.SIGNALS]
    with stopping.finishing():
        signal.raise_signal(getattr(signal, name))
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert [signal.getsignal(each) for each in stopping.SIGNALS] == before


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_a_run_that_is_ended_while_it_saves_is_saved(painted, monkeypatch):
    def hand_over(*given, **more):
        signal.raise_signal(signal.SIGTERM)
        return outputs.hand_over(*given, **more)

    monkeypatch.setattr(job, "hand_over", hand_over)
    assert painted("-o", "out.png")[:2] == (0, "out.png\n")
    assert load_image("out.png").shape == (48, 64, 3)


def test_a_process_that_ends_at_once_leaves_no_file_that_a_thread_is_writing(tmp_path):
    code = """
import threading
from jaxnst import _files
from jaxnst.cli.errors import leave

begun = threading.Event()

def write():
    with _files.replacing("out.mp4"):
        begun.set()
        threading.Event().wait()

threading.Thread(target=write, daemon=True).start()
begun.wait()
leave(3)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment(tmp_path), check=False
    )
    assert done.returncode == 3 and not os.listdir(tmp_path)


# As a process.


def environment(folder):
    """A clean one: an empty home, its own cache folder, this checkout."""
    return {
        **{"HOME": str(folder), "XDG_CACHE_HOME": str(folder / "cache"), "PATH": ""},
        **{"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "JAX_PLATFORMS": "cpu"},
    }


def process(folder, *arguments, **more):
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "jaxnst", *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment(folder),
        check=False,
        **more,
    )


def test_help_and_wrong_flags_do_not_wait_for_jax(tmp_path):
    code = """
import contextlib, json, sys
from jaxnst.cli import main, main_run
calls = ["--help"], ["--version"], ["a", "b", "--size", "0"], ["a.png", "b.png", "-o", "o.png"]
for call in calls:
    with contextlib.suppress(SystemExit):
        main_run(call)
slow = {"jax", "flax", "optax", "jaxopt", "rich", "h5py"} & set(sys.modules)
sys.exit(json.dumps(sorted(slow)))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment(tmp_path),
        check=False,
    )
    assert json.loads(done.stderr.splitlines()[-1]) == []
    assert "a.png does not exist" in done.stderr


def test_a_wrong_file_as_a_process(folder):
    done = process(folder, "run", "no.jpg", "style.png", "-o", "out.png")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "jaxnst run: error: no.jpg does not exist: check the name and the folder\n"
    )


def test_two_runs_a_stop_and_a_terminal(folder):
    """One program for all of them, compiled once: the number of steps is not part of it."""
    given = "run", "content.png", "style.png", "-o", "out.jpg", "--size", "61", *helpers.SHALLOW
    first = process(folder, *given, "--steps", "4")
    assert (first.returncode, first.stdout) == (0, "out.jpg\n"), first.stderr
    assert load_image(folder / "out.jpg").shape == (46, 61, 3)
    assert "vgg16-lite on cpu" in first.stderr and "compiling takes" in first.stderr
    picture = (folder / "out.jpg").read_bytes()

    cache = folder / "cache" / "jaxnst" / f"jax-{jax.__version__}"
    kept = {path.name for path in cache.iterdir()}
    assert any("advance" in name for name in kept) and cache.stat().st_mode & 0o77 == 0

    second = process(folder, *given, "--steps", "4", "--quiet")
    assert (second.returncode, second.stdout, second.stderr) == (0, "out.jpg\n", "")
    assert (folder / "out.jpg").read_bytes() == picture
    assert {path.name for path in cache.iterdir()} == kept, "a program was compiled again"
    for closes in (False, True):
        stop(folder, given, closes=closes)
        assert (folder / "out.jpg").read_bytes() == picture


def stop(folder, given, *, closes):
    """Stop a long run by Ctrl-C, or close its terminal: it saves what it has, at once."""
    pty = pytest.importorskip("pty", reason="needs pseudo-terminals")
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "jaxnst", *given, "--steps", "100000"],
        stdout=theirs if closes else subprocess.PIPE,
        stderr=theirs,
        cwd=folder,
        env=environment(folder) | {"TERM": "xterm", "COLUMNS": "110"},
    )
    os.close(theirs)
    shown = b""
    while b"tv " not in shown:
        shown += os.read(ours, 4096)
    if closes:
        os.close(ours)
        for _ in range(2):  # of the system, and of the shell
            child.send_signal(signal.SIGHUP)
        assert child.wait(timeout=60) == 128 + signal.SIGHUP
        check_stopped(folder)
        return
    child.send_signal(signal.SIGINT)
    while child.poll() is None or b"saving" not in shown:
        try:
            shown += os.read(ours, 4096)
        except OSError:  # the other end is closed
            break
    out, _ = child.communicate(timeout=60)
    os.close(ours)
    assert child.returncode == 130 and (name := re.fullmatch(rb"(out-\d{4,}\.jpg)\n", out))
    assert "━".encode() in shown and b"/100000 evaluations" in shown
    assert b"saving the picture so far" in shown
    assert (folder / name[1].decode()).is_file()
    check_stopped(folder)


def check_stopped(folder):
    """The picture so far lies beside the finished one."""
    (path,) = folder.glob("out-*.jpg")
    assert load_image(path).shape == (46, 61, 3)
    path.unlink()
    assert not list(folder.glob(".jaxnst*"))


def test_programs_are_dropped_before_there_is_no_room_for_more(monkeypatch, tmp_path):
    maps, most, dropped = tmp_path / "maps", tmp_path / "most", []
    monkeypatch.setattr(device, "MAPPINGS", maps)
    monkeypatch.setattr(device, "MOST_MAPPINGS", most)
    monkeypatch.setattr("jax.clear_caches", lambda: dropped.append(len(maps.read_text())))
    device.clear_programs()  # there are no such files
    most.write_text("10\n")
    for count in (5, 6):
        maps.write_text("x\n" * count)
        device.clear_programs()
    assert dropped == [12]


@pytest.mark.usefixtures("no_cache_folder")
def test_an_unwritable_cache_is_a_notice(monkeypatch, tmp_path):
    (tmp_path / "jaxnst").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(device, "_set", lambda *_: pytest.fail("changed a setting"))
    if sys.platform.startswith("linux"):
        told: list[str] = []
        device.keep_programs(told.append)
        assert "are not kept for the next run" in told[0]


def test_endings_are_all_offered(run, folder):
    err = refused(run("content.png", "style.png", "-o", "out"), 1)
    assert all(ending in err for ending in ENDINGS)
