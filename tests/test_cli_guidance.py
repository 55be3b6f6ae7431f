"""Several styles, statistics, masks and transparency on the command line."""

import re
from dataclasses import replace

import helpers
import numpy as np
import pytest
from PIL import Image

from jaxnst.cli import job as job_module
from jaxnst.image import load_image, read_record, save_image
from jaxnst.transfer.result import StylizeResult

STEPS = ("--size", "48", "--steps", "12", "--quiet")
STEPS += ("--style-layers", "relu1_1,relu2_1", "--content-layers", "relu2_1")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    save_image(tmp_path / "content.png", helpers.picture(36, 48))
    save_image(tmp_path / "style.png", helpers.picture(42, 56, seed=1))
    save_image(tmp_path / "other.png", helpers.picture(50, 40, seed=2))
    mask = np.zeros((18, 24, 3), np.float32)
    mask[:, :12] = 1
    save_image(tmp_path / "left.png", mask)
    save_image(tmp_path / "right.png", 1 - mask)
    save_image(tmp_path / "black.png", 0 * mask)
    save_image(tmp_path / "tall.png", np.ones((48, 20, 3), np.float32))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def paint(call, *arguments):
    status, out, err = call("run", "content.png", *STEPS, "-o", "out.png", *arguments)
    assert (status, out, err) == (0, "out.png\n", "")
    return load_image("out.png")


def test_masks_and_mixtures_reach_the_picture(call):
    plain = paint(call, "style.png", "other.png")
    one = paint(call, "style.png", "other.png", "--style-mix", "1,0")
    # Two programs: rounding may differ, and so one step of 8 bits.
    np.testing.assert_allclose(one, paint(call, "style.png"), rtol=0, atol=1.01 / 255)
    by_layer = ("--style-mix", "1,0", "--style-mix", "relu2_1:0,1")
    regions = ("--mask", "left.png", "--mask", "right.png")
    pictures = [
        plain,
        one,
        paint(call, "style.png", "other.png", *by_layer),
        paint(call, "style.png", "other.png", *regions),
        paint(call, "style.png", "--mask", "left.png"),
        paint(call, "style.png", *regions, "--style-mask", "left.png", "--style-mask", "right.png"),
    ]
    for i, picture in enumerate(pictures):
        for other in pictures[:i]:
            assert np.abs(picture - other).max() > 2 / 255
    # Far from its mask the photograph stays.
    far = paint(call, "style.png", "--mask", "left.png", "--tv-weight", "0")[:, 44:]
    np.testing.assert_allclose(far, load_image("content.png")[:, 44:], atol=0.15)


def photographs(folder, count):
    (folder / "photos").mkdir()
    for i in range(count):
        save_image(folder / f"photos/{i}.png", helpers.picture(36, 48, seed=i))
    return [f"photos/{i}.png" for i in range(count)]


@pytest.mark.parametrize("command", ["run", "instant"])  # sweep paints each style by itself
def test_photographs_are_not_taken_for_styles_without_a_word(call, folder, command):
    """What a shell makes of ``photos/*.png style.png``."""
    status, out, err = call(command, *photographs(folder, 4), "style.png", "-o", "out.png")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert (
        "photos/0.png would be painted in a mixture of 4 styles, photos/1.png to style.png" in err
    )
    assert "jaxnst batch --contents FOLDER" in err and err.endswith(" --style-mix 1,1,1,1\n")
    assert not (folder / "out.png").exists()


def test_a_few_styles_are_named_and_many_are_mixed_where_a_flag_says_how(call, folder, monkeypatch):
    asked = []

    def stylize(content, styles, **_):
        asked.append(len(styles))
        return StylizeResult(content, {}, 3, 0, 0.0, 0.0)

    monkeypatch.setattr(job_module, "stylize", stylize)
    given = ("run", "content.png", "style.png", "other.png")
    output = ("-o", "out.png", "--size", "48")
    status, _, err = call(*given, *output)
    assert status == 0 and asked == [2]
    words = "content.png is painted in the manner of a mixture of style.png, other.png"
    assert f"notice: {words}; to paint several photographs, use jaxnst batch" in err
    assert "together" not in call(*given, *output, "--style-mix", "1,2")[2]
    assert "together" not in call(*given[:3], *output)[2]
    four = (*given[:2], *photographs(folder, 4), *output)
    assert call(*four, "--style-mix", "1,1,1,1")[0] == 0 and asked[-1] == 4
    # A record says what each picture was, but for others than those it names.
    rewritten = read_record("out.png")
    save_image("out.png", load_image("out.png"), record=replace(rewritten, arguments={}))
    again = (*four[:-4], "--from", "out.png", "-o", "new.png")
    status, _, err = call(*again)
    assert status == 0 and "together" not in err and asked[-1] == 4
    assert call(*again, "--other-inputs")[0] == 2


def test_statistics_and_layers_reach_the_picture(call):
    plain = paint(call, "style.png")
    for more in (
        ("--style-statistic", "mean-deviation"),
        ("--style-statistics", "relu1_1:histogram,relu2_1:sliced"),
        ("--style-distances", "relu2_1:wasserstein"),
        ("--style-layers", "relu1_1:0.5,relu3_1:2"),
        ("--content-layers", "relu3_1"),
    ):
        assert np.abs(paint(call, "style.png", *more) - plain).max() > 2 / 255


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("--mask", "missing.png"), 1, "missing.png does not exist"),
        (("--mask", "black.png"), 1, "mask 1 is black everywhere"),
        (("--mask", "tall.png"), 1, "mask 1 is 20x48 and its picture 48x36"),
        (("--mask", "left.png", "--mask", "right.png", "--mask", "left.png"), 1, "3 masks"),
        (("--style-mask", "black.png"), 1, "expected one for each style"),
        (("--style-mix", "1,2,3"), 2, "style mix is (1.0, 2.0, 3.0), expected 2 weights"),
        (("--style-mix", "0,0"), 2, "style mix is 0"),
        (("--style-mix", "relu2_2:1,0"), 2, "none of the style layers"),
        (("--style-mix", "nolayer:1,0"), 2, "nolayer"),
        (("--style-statistic", "gramm"), 2, "unknown style statistic 'gramm'"),
        (("--style-statistic", "gram", "--style-distance", "wasserstein"), 2, "change either"),
        (("--style-statistics", "relu2_2:gram"), 2, "none of the style layers"),
        (("--style-distances", "relu9_1:mean"), 2, "relu9_1"),
        (("--style-distance", "near"), 2, "unknown style distance 'near'"),
        (
            ("--mask", "left.png", "--mask", "right.png", "--style-mix", "1,0"),
            *(2, "each mask has its own style: give either"),
        ),
        (("--style-layers", "relu9_9"), 2, "relu9_9"),
        (("--style-size", "64", "--style-scale", "2"), 2, "give either"),
        (("-o", "left.png", "--mask", "left.png"), 2, "overwrite"),
    ],
)
def test_what_cannot_be_is_one_line(call, folder, arguments, status, said):
    given = ("content.png", "style.png", "other.png", *STEPS, "-o", "out.png", *arguments)
    found, out, err = call("run", *given)
    assert (found, out) == (status, ""), err
    assert re.fullmatch(r"jaxnst run: error: .+\n", err)
    assert said in err
    assert not (folder / "out.png").exists()


def test_a_batch_mixes_styles_and_knows_no_masks(call, folder):
    (folder / "rows.csv").write_text("content,style\ncontent.png,style.png|other.png\n")
    given = ("batch", "--manifest", "rows.csv", *STEPS)
    assert call(*given, "--out", "plain")[0] == 0
    assert call(*given, "--out", "mixed", "--style-mix", "1,0")[0] == 0
    name = "content-style-other.png"
    assert np.abs(load_image(f"plain/{name}") - load_image(f"mixed/{name}")).max() > 2 / 255
    anew = ("--out", "mixed", "--style-mix", "0,1", "--overwrite")
    assert call(*given, *anew)[0] == 0
    assert len((folder / "mixed/results.jsonl").read_text().splitlines()) == 2
    status, out, err = call(*given, "--out", "masked", "--mask", "left.png")
    assert (status, out) == (2, "") and "--mask" in err


def test_a_cut_out_keeps_its_transparency(call):
    picture = Image.fromarray((255 * helpers.picture(36, 48)).astype(np.uint8))
    opacity = np.full((36, 48), 255, np.uint8)
    opacity[:, :20] = 0
    picture.putalpha(Image.fromarray(opacity))
    picture.save("cut.png")
    status, _, err = call("run", "cut.png", "style.png", *STEPS, "-o", "out.png")
    assert status == 0, err
    with Image.open("out.png") as found, Image.open("cut.png") as given:
        found, given = np.asarray(found), np.asarray(given)
    assert found.shape == (36, 48, 4)
    np.testing.assert_array_equal(found[..., 3], opacity)
    np.testing.assert_array_equal(found[:, :20], given[:, :20])
    assert np.abs(found[:, 20:].astype(int) - given[:, 20:]).max() > 2
