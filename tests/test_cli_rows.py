"""Folders and patterns of pictures, for all commands that take them."""

import helpers
import pytest
from feedforward_helpers import model

from jaxnst.cli import apply, batch, instant
from jaxnst.cli.errors import UsageError
from jaxnst.cli.manifest import is_several, pictures, report_skipped_files
from jaxnst.cli.messages import Messages
from jaxnst.feedforward import save_model
from jaxnst.image import save_image

TAKEN = ("a.png", "c.jfif", "d.JPE")
OTHERS = ("e.psd", "f.svg", "g.svg")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for place in ("plain", "br [2024]"):
        (tmp_path / place / "inner").mkdir(parents=True)
        for name in TAKEN:
            save_image(tmp_path / place / name, helpers.picture(32, 40, seed=1))
        for name in (*OTHERS, ".hidden.svg"):
            (tmp_path / place / name).write_bytes(b"a picture of another kind")
    save_image(tmp_path / "style.png", helpers.picture(32, 40, seed=2))
    save_model(tmp_path / "small.safetensors", model())
    return tmp_path


def names(where):
    return [path.replace("\\", "/") for path in pictures("--contents", where)]


# Brackets


@pytest.mark.parametrize("place", ["plain", "br [2024]"])
@pytest.mark.parametrize("pattern", ["", "/", "/*", "/*.*", "/[acd].*", "/**/*"])
def test_a_folder_may_have_brackets_in_its_name(place, pattern):
    if pattern in ("", "/"):
        assert sorted(map(str, names(place + pattern))) == [f"{place}/{name}" for name in TAKEN]
    else:
        assert names(place + pattern) == [f"{place}/{name}" for name in TAKEN]
    assert is_several(place + pattern)


def test_a_folder_with_brackets_may_stand_anywhere(folder):
    expected = [f"{folder}/br [2024]/{name}" for name in TAKEN]
    assert names(f"{folder}/br [2024]/*") == expected
    assert names(f"{folder}/br [[]2024]/*") == expected  # as patterns escape a bracket
    (folder / "a[b]").mkdir()
    save_image(folder / "a[b]" / "x[1].png", helpers.picture(20, 20))
    assert names("a[b]/x[1].png") == ["a[b]/x[1].png"]
    assert names("a[b]/x*.png") == ["a[b]/x[1].png"]
    assert not is_several("a[b]/x[1].png")


def test_a_missing_file_in_such_a_folder_is_no_pattern():
    assert not is_several("br [2024]/missing.png")
    assert is_several("br [2024]/missing*.png")
    assert is_several("no/such [folder]/x.png")
    with pytest.raises(UsageError, match=r"there is no picture in br \[2024\]/missing\*\.png"):
        pictures("--contents", "br [2024]/missing*.png")


def test_a_file_that_is_named_is_taken_whatever_its_ending():
    assert names("plain/f.svg") == ["plain/f.svg"]
    with pytest.raises(UsageError, match=r"there is no picture in plain/\*\.svg"):
        pictures("--contents", "plain/*.svg")


def test_apply_reads_a_file_that_is_named_by_what_it_holds(call, folder):
    (folder / "a.png").write_bytes((folder / "plain" / "a.png").read_bytes())
    for name in ("photo", "photo.jpg_large"):
        (folder / "a.png").rename(folder / name)
        assert call("apply", "small.safetensors", name, "-o", "o.png", "--no-cache")[0] == 0
        (folder / name).rename(folder / "a.png")
    (folder / "photo.cr3").write_bytes(b"\0\0\0\x18ftypcrx " + bytes(99))
    status, _, err = call("apply", "small.safetensors", "photo.cr3", "-o", "p.png", "--no-cache")
    assert status == 1 and "photo.cr3 is a raw photograph" in err and err.count("\n") == 1
    status, _, err = call("apply", "small.safetensors", "plain/e.psd", "-o", "o.png", "--no-cache")
    assert status == 1 and "e.psd has the extension of neither a picture nor a film" in err


# Files that are skipped


def told(places, capsys, **options):
    report_skipped_files(places, Messages("jaxnst test", quiet=False), **options)
    return capsys.readouterr().err


@pytest.mark.parametrize("place", ["plain", "plain/*", "br [2024]"])
def test_files_passed_over_are_counted_in_one_line(capsys, place):
    assert told([place], capsys) == (
        "jaxnst test: notice: skipped: 3 files of other kinds (.psd, .svg)\n"
    )


def test_what_is_named_or_matches_is_all_that_counts(capsys, folder):
    assert told(["plain/*.png", "plain/a.png", "plain/e.psd"], capsys) == ""
    assert "skipped: 1 file of other kinds (.psd)" in told(["plain/*.psd"], capsys)
    assert "skipped: 3 files" in told(["plain", "plain/*"], capsys)  # each once
    assert told(["plain"], capsys, endings=(".png", ".jfif", ".jpe", ".psd", ".svg")) == ""
    for i in range(9):
        (folder / "plain" / f"x.{i}").touch()
    (folder / "plain" / "none").touch()
    assert "13 files of other kinds (none, .0, .1, .2, .3, ...)" in told(["plain"], capsys)


COMMANDS = {
    "batch": (batch, "_work", ("--contents", "plain", "--styles", "style.png", "--out", "out")),
    "apply": (apply.Series, "run", ("small.safetensors", "plain", "-o", "out/")),
    "instant": (instant.Series, "run", ("plain", "style.png", "-o", "out")),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_that_takes_a_folder_says_so_once(call, monkeypatch, name):
    module, work, arguments = COMMANDS[name]
    monkeypatch.setattr(module, work, lambda *_, **__: 0)
    status, _, err = call(name, *arguments)
    assert status == 0
    assert err.count("skipped: 3 files") == 1 and err.count("\n") == 1
    assert err.startswith(f"jaxnst {name}: notice: skipped: ")
    assert call(name, *arguments, "--quiet")[2] == ""


def test_training_says_so_once(call, monkeypatch):
    from jaxnst.cli import training

    monkeypatch.setattr(training, "train_style", lambda *_: 0)
    status, _, err = call(
        "train", "style.png", "--images", "plain", "-o", "m.safetensors", "--crop", 32
    )
    assert status == 0, err
    assert err.count("skipped: 3 files of other kinds") == 1


# What is said of pictures that are read


@pytest.mark.filterwarnings("default:.*cut")
def test_what_there_is_to_say_of_a_picture_is_said_once_and_names_the_input(call, folder):
    picture = folder / "cut [1].jpg"
    save_image(picture, helpers.picture(32, 40))
    picture.write_bytes(picture.read_bytes()[:-2])
    says = f"jaxnst instant: notice: {picture} lacks the last two bytes of a JPEG file"
    status, _, err = call(
        "instant", picture, picture, "-o", "o.png", "--size", 32, "--levels", 1, "--no-cache"
    )
    assert status == 0, err
    assert err.count(says) == 1
