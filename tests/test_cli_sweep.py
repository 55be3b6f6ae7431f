"""``jaxnst sweep``: axes, cells, the sheet, and the commands of the cells."""

import os
import re
import shlex

import helpers
import numpy as np
import pytest

from jaxnst.cli import sweep
from jaxnst.image import load_image, read_record, save_image
from jaxnst.report.contact_sheet import GAP
from jaxnst.transfer.pyramid import make_schedule
from jaxnst.transfer.result import StylizeResult


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    save_image(tmp_path / "content.png", helpers.picture(48, 64))
    save_image(tmp_path / "style.png", helpers.picture(60, 40, seed=1))
    monkeypatch.chdir(tmp_path)
    return tmp_path


GIVEN = ("sweep", "content.png", "style.png", "-o", "sheet.png", "--no-cache")
SMALL = ("--size", "32", "--steps", "3")


def test_cells_are_all_combinations_on_a_sheet_with_their_commands(call, folder):
    axes = ("--style-weight", "0.001,30", "--seed=0..2", "--init", "style-colors")
    axes += ("--colors", "linear")
    status, out, err = call(*GIVEN, *SMALL, *axes)
    assert (status, out) == (0, "sheet.png\n")
    assert sorted(p.name for p in folder.iterdir()) == ["content.png", "sheet.png", "style.png"]
    sheet = load_image("sheet.png")
    assert sheet.shape[1] == 3 * 32 + 2 * GAP
    step = (sheet.shape[0] + GAP) // 2
    cells = [
        sheet[r * step + step - GAP - 24 : r * step + step - GAP, c * (32 + GAP) :][:, :32]
        for r in range(2)
        for c in range(3)
    ]
    assert read_record("sheet.png").arguments["cells"][4] == "style-weight 30, seed 1"
    commands = [line for line in err.splitlines() if ": jaxnst-run " in line]
    assert len(commands) == 6
    words = "style-weight 30, seed 1: jaxnst-run content.png style.png --style-weight 30 "
    assert commands[4].startswith(words)
    for i, j in ((0, 1), (0, 3), (4, 5)):
        assert np.abs(cells[i] - cells[j]).max() > 0.02
    # The command makes the very picture of the cell, here at the sheet's own size.
    arguments = shlex.split(commands[4].partition(": jaxnst-run ")[2])
    assert "sheet-30-1.png" in arguments and "--size" not in arguments
    assert call("run", *arguments, "--size", "32", "--quiet")[0] == 0
    np.testing.assert_allclose(load_image("sheet-30-1.png"), cells[4], atol=0.02)


def test_one_axis_is_wrapped(call):
    pictures = ("content.png", "style.png", "--no-cache")
    status, out, _ = call(
        "sweep", *pictures, *SMALL, *helpers.SHALLOW, "--tv-weight", "0,1,2,3,4,5,6", "--quiet"
    )
    assert (status, out) == (0, "content-style-sheet.png\n")
    assert load_image(out.strip()).shape[1] == sweep.COLUMNS * (32 + GAP) - GAP


def test_scales_are_reduced_to_the_memory_allowed(call, monkeypatch):
    painted = []

    def stylize_batch(contents, styles, *, recipe, size, **_):
        painted.extend((size, one.style.weight, one.scales.sides) for one in recipe)
        make_schedule(contents[0].shape[:2], [], recipe[0].scales, size=size)
        return [StylizeResult(helpers.picture(24, 32), {}, 3, 0, 0.0, 0.0)] * len(recipe)

    monkeypatch.setattr("jaxnst.transfer.batch.stylize_batch", stylize_batch)
    monkeypatch.setattr("jaxnst.cli.fitting.loop_footprint", lambda *_, **__: None)
    given = ("--scales", "32,4096", "--style-weight", "1,30", "--max-memory", "2GB")
    status, _, err = call(*GIVEN, *given)
    assert status == 0, err
    size = painted[0][0]
    assert 32 < size < 4096 and f"painting the largest size that fits, {size} pixels" in err
    assert painted == [(size, 1.0, (32, size)), (size, 30.0, (32, size))]


def test_styles_sizes_and_methods_vary_and_those_of_one_program_are_painted_together(
    call, monkeypatch
):
    calls = []

    def stylize_batch(contents, styles, *, recipe, size, **_):
        calls.append((size, {one.colors.mode for one in recipe}, [one[0].shape for one in styles]))
        shape = make_schedule(contents[0].shape[:2], [], recipe[0].scales, size=size).size
        image = np.zeros((*shape, 3), np.float32)
        return [StylizeResult(image, {}, 3, 0, 0.0, 0.0)] * len(recipe)

    monkeypatch.setattr("jaxnst.transfer.batch.stylize_batch", stylize_batch)
    save_image("other.png", helpers.picture(40, 50, seed=2))
    pictures = ("content.png", "style.png", "other.png")
    axes = ("--size", "32,48", "--colors", "style,linear")
    status, out, err = call("sweep", *pictures, *axes, "--steps", "4", "--no-cache")
    assert (status, out) == (0, "content-sheet.png\n"), err
    shapes = [(60, 40, 3), (40, 50, 3)]
    colors = [{"style"}, {"linear"}]
    assert calls == [(size, mode, shapes) for size in (32, 48) for mode in colors]
    # Every style has a row, and smaller pictures are shown as large as the others.
    assert load_image("content-sheet.png").shape[1] == 4 * (48 + GAP) - GAP
    record = read_record("content-sheet.png")
    assert [source.name for source in record.sources] == [*pictures]
    cells = record.arguments["cells"]
    assert cells[0] == "style style.png, size 32, colors style, 32x24"
    assert cells[7] == "style other.png, size 48, colors linear, 48x36"
    assert "48x36, the largest of 8 variations" in err
    command = "jaxnst-run content.png other.png --size 48 --colors linear --steps 4 --no-cache "
    assert command + "-o content-sheet-other-48-linear.png" in err


def test_styles_of_one_name_in_two_folders_are_told_apart(call, folder, monkeypatch):
    monkeypatch.setattr(sweep, "_paint", lambda *_: helpers.picture(48, 64))
    for name in ("a", "b"):
        os.mkdir(name)
        save_image(f"{name}/mona.png", helpers.picture(40, 50, seed=2))
    status, _, err = call("sweep", "content.png", "a/mona.png", "b/mona.png", "style.png")
    assert status == 0, err
    assert re.findall(r"^(style .+): jaxnst-run content.png (\S+) -o (.+)$", err, re.MULTILINE) == [
        ("style a/mona.png", "a/mona.png", "content-sheet-a_mona.png"),
        ("style b/mona.png", "b/mona.png", "content-sheet-b_mona.png"),
        ("style style.png", "style.png", "content-sheet-style.png"),
    ]


@pytest.mark.parametrize(
    ("arguments", "cells"),
    [
        (
            ("--content-layers", "relu3_1", "--content-layers=relu3_1:2,relu4_2"),
            ["content-layers relu3_1", "content-layers relu3_1:2,relu4_2"],
        ),
        (("--recipe", "../sweep/a.toml,default"), ["recipe ../sweep/a.toml", "recipe default"]),
        (("--scales=16,32", "--scales", "32"), ["scales 16,32", "scales 32"]),
        (("--seed", "1", "--seed", "5", "--init", "noise"), ["seed 1", "seed 5"]),
        (
            ("--style-mix", "1,0", "--style-mix", "0,1", "--style-mix", "relu1_1:1,1", "b.png"),
            ["style-mix 1,0", "style-mix 0,1"],
        ),
        (("--", "-b.png"), ["style style.png", "style -b.png"]),
    ],
)
def test_what_varies_is_listed_or_repeated(folder, monkeypatch, arguments, cells):
    (folder / "sweep").mkdir()
    (folder / "sweep/a.toml").write_text('base = "default"\n')
    monkeypatch.chdir(folder / "sweep")
    read = sweep._read(["content.png", "style.png", *arguments], "jaxnst sweep").cells
    assert [str(cell) for cell in read] == cells
    assert read[0].recipe != read[1].recipe or read[0].flags != read[1].flags
    for cell in read:
        assert len(cell.flags.styles) == 1 + ("b.png" in arguments)
        assert len(cell.flags.style_mix or ()) == 2 * ("b.png" in arguments)


@pytest.mark.parametrize(
    ("text", "values"),
    [("1,3,10", "1 3 10"), ("0..3", "0 1 2 3"), ("0..1,7", "0 1 7"), ("0.5,1e3", "0.5 1e3")],
)
def test_values_are_lists_and_ranges(text, values):
    assert list(sweep._values("--seed", text)) == values.split()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "nothing varies"),
        (("--style-weight", "3"), "nothing varies"),
        (("--seed", "3..1"), "'3..1' is not a range"),
        (("--seed", "0..x"), "'0..x' is not a range"),
        (("--seed", "0..300"), "more than 256"),
        (("--seed", "0..99", "--tv-weight", "1,2,3"), "more than 256 variations"),
        (("--seed", "1,2", "--seed", "3,4"), "--seed: give it once"),
        (("--style-weight", "1,-3"), "style weight is -3"),
        (("--style-weight", "1,x"), "'x' is not a number"),
        (("--seed", "1,,2"), "--seed"),
        (("--seed", "1,1"), "--seed has the same value twice"),
        (("--seed", "1", "--seed", "1,2"), "--seed: give it once"),
        (("--tv-weight", "1,2", "--seed"), "--seed: expected a value"),
        (("--seed", "0..255", "--tv-weight=1,2", "--size", "4000"), "more than 256 variations"),
        (
            ("--seed", "0..60", "--tv-weight=1,2", "--size", "600", "--init", "noise"),
            "the sheet would have",
        ),
        (
            ("--seed", "0..1"),
            "seed 0 and seed 1 are the same picture: --seed has no effect on a start from content, "
            "add --init noise or --init style-colors",
        ),
        (
            ("--tv-weight", "2,3", "--seed=4,5", "--init", "style"),
            "tv-weight 2, seed 4 and tv-weight 2, seed 5 are the same picture: --seed has no",
        ),
        (
            ("--tv-weight", "1,1.0", "--seed", "3", "--init", "noise"),
            "tv-weight 1 and tv-weight 1.0 are the same picture: leave one out",
        ),
        (("--seed", "1,2", "--dry-run"), "only works with jaxnst run"),
        (("--seed", "1,2", "--timings"), "only works with jaxnst run"),
        (("--seed", "1,2", "--animate", "a.gif"), "--animate only works with jaxnst run"),
        (("--seed", "1,2", "-o", "-"), "a sheet cannot go to standard output"),
        (("--seed", "1,2", "--init", "content.png"), "starts from content, noise, style"),
        (("--seed", "1,2", "--sed", "3"), "unknown flag --sed"),
    ],
)
def test_what_cannot_be_swept_is_one_line(call, folder, arguments, words):
    status, out, err = call(*GIVEN, "--quiet", *arguments)
    assert (status, out) == (2, "") and words in err
    assert re.fullmatch(r"jaxnst sweep: error: .+\n", err)
    assert not (folder / "sheet.png").exists()


@pytest.mark.parametrize(
    ("recipe", "arguments", "size"),
    [
        ("", (), 192),
        ("[scales]\nsize = 300\n", (), 192),
        ("[scales]\nsides = [48, 96]\n", (), 96),
        ("", ("--scales", "auto"), 192),
        ("", ("--size", "80"), 80),
    ],
)
def test_the_size_is_the_one_that_the_help_says(call, folder, monkeypatch, recipe, arguments, size):
    (folder / "mine.toml").write_text(f'base = "default"\n{recipe}')
    given = ("--recipe", "mine.toml", *arguments)
    shown = " ".join(call("sweep", *given, "--help")[1].split())
    assert ("(default: 48,96)" in shown) == ("sides" in recipe)
    if not arguments:
        assert f"longest side of the result (default: {size})" in shown
    painted = []

    def paint(sweep, jobs, messages):
        painted.extend({job.plan().schedule.size for job in jobs})
        return helpers.picture(48, 64)

    monkeypatch.setattr(sweep, "_paint", paint)
    status, _, err = call(*GIVEN, *given, "--style-weight", "1,2")
    assert status == 0, err
    assert painted == [(size * 3 // 4, size)] and "--size" not in err


def test_help_says_what_takes_several_values(call):
    status, out, _ = call("sweep", "--help")
    assert status == 0 and "--style-weight 1,3,10, --seed 0..3, --colors" in " ".join(out.split())
    assert "--deterministic" in out and "--dry-run" not in out and "--save-every" not in out
