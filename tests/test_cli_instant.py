"""``jaxnst instant`` from flags to files, with decoders that nobody has trained."""

import json
import re

import numpy as np
import pytest

from jaxnst.cli import device
from jaxnst.feedforward.decoders import Decoder
from jaxnst.image import load_image, read_record, save_image
from jaxnst.networks.vgg import VGG19_LITE
from jaxnst.report.contact_sheet import GAP
from jaxnst.weights import write_parameters


@pytest.fixture(scope="module")
def decoders(tmp_path_factory):
    """A file of decoders for levels 2 and 1."""
    path, rng = (
        tmp_path_factory.mktemp("decoders") / "decoders.safetensors",
        np.random.default_rng(0),
    )
    found = {}
    for level in (1, 2):
        for name, shape in Decoder(VGG19_LITE, level).shapes().items():
            spread = 1 / np.sqrt(np.prod(shape[:-1])) if len(shape) == 4 else 0.2
            found[f"level{level}/{name}"] = rng.normal(0, spread, shape).astype(np.float16)
    write_parameters(path, found, metadata={"decoders_of": "vgg19-lite"})
    return path


@pytest.fixture
def folder(tmp_path, monkeypatch, rng):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for name, size in (("photos/a", (40, 48)), ("photos/b", (48, 40)), ("style", (40, 40))):
        save_image(f"{name}.png", rng.uniform(0, 1, (*size, 3)).astype(np.float32))
    return tmp_path


@pytest.fixture
def instant(call, decoders):
    """Call ``jaxnst instant`` with levels 2 and 1 at 32 pixels."""
    given = ("--decoders", decoders, "--levels", "2,1", "--size", 32, "--no-cache")
    return lambda *arguments: call("instant", *arguments, *given)


def refused(outcome, status, *words):
    """One line on stderr that holds the words, nothing on stdout."""
    found, out, err = outcome
    assert (found, out) == (status, "")
    assert err.count("\n") == 1
    for word in words:
        assert word in err


def test_a_picture(folder, instant, call):
    status, out, err = instant("photos/a.png", "style.png", "-o", "out.png")
    assert (status, out) == (0, "out.png\n")
    assert "photos/a.png: 32x27" in err
    record = read_record("out.png")
    assert (record.recipe, record.network, record.size) == (None, "vgg19-lite", 32)
    roles = [(s.role, s.name) for s in record.sources]
    assert roles[:2] == [("content", "a.png"), ("style", "style.png")] and len(roles) == 3
    assert record.arguments["levels"] == "2,1" and record.arguments["command"] == "instant"
    again = "jaxnst instant a.png style.png --decoders decoders.safetensors -o NEW.png"
    shown = call("show", "out.png")[1]
    assert again in shown and "--size=32" in shown and "--alpha=0.6" in shown
    assert instant("photos/a.png", "style.png", "-o", "b.png", "--no-metadata")[0] == 0
    assert read_record("b.png") is None
    assert load_image("out.png").shape == (27, 32, 3)


def test_how_is_up_to_flags(folder, instant):
    one = ("photos/a.png", "style.png", "-o", "out.png", "--quiet")

    def painted(*more):
        assert instant(*one, *more)[0] == 0
        return load_image("out.png")

    first = painted()
    np.testing.assert_array_equal(painted("--alpha", "0.6", "--transform", "whiten"), first)
    for more in (["--alpha", "0"], ["--transform", "moments"], ["--style-size", "24"]):
        assert np.abs(painted(*more) - first).max() > 0.01
    sheet = painted("--alpha", "0,0.6")
    assert sheet.shape[1] == 2 * 32 + GAP
    np.testing.assert_allclose(sheet[-len(first) :, -32:], first, atol=0.005)
    assert np.abs(sheet[-len(first) :, :32] - first).max() > 0.01
    assert read_record("out.png").arguments["alpha"] == "0.0,0.6"


def test_a_folder_one_bad_file_costs_only_itself(folder, instant):
    (folder / "photos/c.png").write_bytes(b"no picture")
    status, out, err = instant("photos", "style.png", "-o", "painted")
    assert status == 1
    assert out.splitlines() == ["painted/a.png", "painted/b.png"]
    assert "photos/c.png" in err
    assert re.search(r"^2 inputs in .+ s, 1 failed$", err, re.MULTILINE)
    assert load_image("painted/b.png").shape == (32, 27, 3)
    assert instant("photos/[ab].png", "style.png", "-o", "painted", "--ending", ".jpg")[0] == 0
    assert (folder / "painted/a.jpg").read_bytes()[:3] == b"\xff\xd8\xff"


def test_a_folder_is_painted_once_and_what_has_changed_again(folder, instant, rng):
    def painted(*more):
        status, out, _ = instant("photos", "style.png", "-o", "painted", *more)
        assert status == 0
        return out.split()

    both = ["painted/a.png", "painted/b.png"]
    assert (painted(), painted()) == (both, [])
    (folder / "painted/b.png").unlink()
    assert painted() == ["painted/b.png"]
    save_image("photos/a.png", rng.uniform(0, 1, (40, 48, 3)).astype(np.float32))
    before = (folder / "painted/a.png").read_bytes()
    refused(instant("photos", "style.png", "-o", "painted", "--quiet"), 2, "a.png already exists")
    assert (folder / "painted/a.png").read_bytes() == before
    assert painted("--overwrite") == ["painted/a.png"]
    words = "a.png and 1 more already exist, made from other pictures or with other settings"
    refused(instant("photos", "style.png", "-o", "painted", "--quiet", "--alpha", "0.5"), 2, words)
    assert painted("--alpha", "0.5", "--overwrite") == both
    assert painted("--alpha", "0.5", "--yes") == []
    save_image("style.png", rng.uniform(0, 1, (40, 40, 3)).astype(np.float32))
    assert painted("--alpha", "0.5", "--overwrite") == both
    assert painted("--style-mask", "style.png", "--overwrite") == both
    several = ("photos", "style.png", "style.png", "-o", "painted", "--overwrite")
    assert instant(*several)[1].split() == both
    log = (folder / "painted/results.jsonl").read_text()
    lines = [json.loads(line) for line in log.splitlines()]
    assert len(lines) == 12
    assert all(line["styles"][0] == "style.png" and line["error"] is None for line in lines)


def test_names_that_are_too_long_are_refused_before_anything_is_painted(folder, instant):
    (folder / "photos/b.png").rename(folder / ("photos/" + "b" * 251 + ".png"))
    given = ("photos", "style.png", "-o", "painted", "--quiet")
    refused(instant(*given, "--ending", ".jpeg"), 1, "(File name too long): choose another name")
    assert not list((folder / "painted").iterdir())
    assert instant(*given)[0] == 0
    alone = ("photos/a.png", "style.png", "--quiet", "-o", "n" * 252 + ".png")
    refused(instant(*alone), 1, "(File name too long): choose another name")


def test_a_single_picture_is_replaced_with_a_notice(folder, instant):
    given = ("photos/a.png", "style.png", "-o", "out.png")
    (folder / "out.png").touch()  # of mktemp
    words = "jaxnst instant: notice: out.png already exists and will be replaced\n"
    assert words not in instant(*given)[2] and words in instant(*given)[2]
    assert words not in instant(*given, "--overwrite")[2]


def test_what_is_hidden_is_not_painted(folder, instant):
    (folder / "photos/._a.png").write_bytes(b"what macOS puts there")
    status, out, _ = instant("photos", "style.png", "-o", "painted")
    assert (status, len(out.split())) == (0, 2)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (
            (),
            "32x27 needs about 540 KiB of memory, 98 KiB is available: use a smaller --size",
        ),
        (("--style-size", "40"), "use a smaller --style-size"),
    ],
)
def test_what_does_not_fit_into_memory_is_refused(folder, instant, monkeypatch, more, words):
    monkeypatch.setattr(device, "available_memory", lambda _: 600_000 if more else 100_000)
    refused(instant("photos/a.png", "style.png", "-o", "out.png", "--quiet", *more), 1, words)


def test_nothing_is_downloaded_for_a_network_without_decoders(folder, call):
    arguments = ("photos/a.png", "style.png", "-o", "out.png", "--network", "vgg19", "--yes")
    refused(call("instant", *arguments), 2, "there are no bundled decoders for vgg19", "--decoders")


@pytest.mark.parametrize("more", [(), ("--decoders", "none.safetensors")])
@pytest.mark.parametrize(
    ("network", "words"),
    [
        ("bla", "unknown network 'bla': expected one of vgg16-lite, vgg19-lite,"),
        ("vgg19lite", "unknown network 'vgg19lite': did you mean 'vgg19-lite'?"),
        ("squeezenet1.1", "squeezenet1.1 is not a VGG, and only those have decoders: choose anot"),
    ],
)
def test_a_network_that_can_have_no_decoders_is_refused(folder, call, network, words, more):
    arguments = ("photos/a.png", "style.png", "-o", "out.png", "--network", network, *more)
    refused(call("instant", *arguments), 2, words)


def test_a_folder_without_a_style_is_one_line(folder, instant):
    refused(instant("photos", "none.png", "-o", "painted", "--quiet"), 1, "none.png")


def test_two_results_of_one_name_are_refused(folder, instant):
    (folder / "photos/a.jpg").write_bytes(b"whatever")
    outcome = instant("photos", "style.png", "-o", "painted")
    refused(outcome, 2, "painted/a.png would be made twice, from photos/a.jpg and from photos/a.p")


def test_several_styles_with_masks(folder, instant):
    left = np.zeros((40, 48, 3), np.float32)
    left[:, :24] = 1
    save_image("left.png", left)
    save_image("right.png", 1 - left)
    masks = ("--mask", "left.png", "--mask", "right.png")
    status, _, _ = instant("photos/a.png", "style.png", "photos/b.png", "-o", "out.png", *masks)
    assert status == 0
    mixed = instant("photos/a.png", "style.png", "photos/b.png", "--style-mix", "3,1")
    assert mixed[:2] == (0, "a-style-b.png\n")


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["photos/a.png", "style.png", "-o", "out.png", "--alpha", "2"], 2, "alpha is 2.0"),
        (["photos/a.png", "style.png", "-o", "out.png", "--levels", "6"], 2, "out of range"),
        (["photos/a.png", "style.png", "-o", "out.png", "--levels", "5,2"], 2, "level 5, only"),
        (["photos/a.png", "style.png", "-o", "out.txt"], 1, "out.txt"),
        (["photos/a.png", "style.png", "-o", "photos/a.png"], 2, "would overwrite"),
        (["photos/a.png", "style.png", "-o", "none/out.png"], 1, "none"),
        (["photos/z.png", "style.png", "-o", "out.png"], 1, "photos/z.png"),
        (["photos", "style.png", "-o", "photos"], 2, "contains inputs: use another folder"),
        (["photos/*.png", "style.png", "-o", "photos"], 2, "contains inputs: use another folder"),
        (["photos", "style.png", "-o", "style.png"], 2, "is a file, expected a folder"),
        (["*.png", "photos/style.png", "-o", "photos"], 2, "photos/style.png would overwrite"),
        (["none/*.png", "style.png", "-o", "out"], 2, "there is no picture in"),
        (["photos", "style.png", "-o", "out", "--mask", "style.png"], 2, "--mask is for one"),
        (["photos/a.png", "-o", "out.png"], 2, "STYLE"),
        (["photos", "style.png"], 2, "give a folder for the results: -o FOLDER"),
        (["photos/a.png", "style.png", "-o", "out.png", "--aplha", "1"], 2, "--alpha"),
        (
            ["photos/a.png", "style.png", "-o", "o.png", "--style-mix", "1,2"],
            2,
            "expected 1 weight, one for each style",
        ),
        (["photos/a.png", "style.png", "-o", "o.png", "--network", "squeezenet1.1"], 2, "VGG"),
    ],
)
def test_what_cannot_be_done_is_one_line(folder, call, decoders, arguments, status, words):
    given = [] if "--levels" in arguments else ["--levels", "2,1"]
    refused(call("instant", *arguments, *given, "--decoders", decoders, "--quiet"), status, words)


def test_a_style_that_is_too_small_is_refused_with_a_way_out(folder, instant, rng):
    save_image("small.png", rng.uniform(0, 1, (16, 16, 3)).astype(np.float32))
    assert instant("photos/a.png", "small.png", "-o", "out.png")[0] == 0
    outcome = instant("photos/a.png", "small.png", "-o", "out.png", "--style-size", "8")
    assert outcome[0] == 2
