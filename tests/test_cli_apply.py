"""``jaxnst apply``: pictures, films and folders, what is gone on with, and inputs that fail."""

import inspect
import json
import os
import re
import signal
import subprocess
import sys
import time
import types
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from feedforward_helpers import model, read_back, turned, write_film

from jaxnst import weights
from jaxnst.cli import apply, device
from jaxnst.cli.messages import Messages
from jaxnst.feedforward import apply_model, load_model, save_model
from jaxnst.image import load_image, read_record, save_image


def needs_av():
    return pytest.importorskip("av", reason="needs PyAV: pip install av")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for name in ("a.png", "b.jpg"):
        save_image(tmp_path / "photos" / name, rng.uniform(0, 1, (32, 40, 3)))
    (tmp_path / "photos/notes.txt").write_text("not a picture")
    save_model(tmp_path / "waves.safetensors", model("waves", widths=(4, 4), blocks=1))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def applied(call):
    return partial(call, "apply", "waves.safetensors")


def records(folder="out"):
    with open(f"{folder}/results.jsonl") as file:
        return [json.loads(line) for line in file]


def expected(path):
    return np.asarray(apply_model(load_model("waves.safetensors"), load_image(path)))


# Pictures.


def test_one_picture_becomes_one_file(applied, call):
    assert applied("photos/a.png", "-o", "out.png", "--no-cache") == (0, "out.png\n", "")
    assert applied("photos/a.png", "--no-cache") == (0, "a-waves.png\n", "")
    assert np.abs(load_image("out.png") - expected("photos/a.png")).max() < 0.51 / 255
    assert not Path("results.jsonl").exists()
    record = read_record("out.png")
    assert (record.recipe, record.network, record.size) == (None, "waves", None)
    assert [s.role for s in record.sources] == ["content", "model"]
    again = "jaxnst apply waves.safetensors a.png -o NEW.png --bits=8"
    assert again in call("show", "out.png")[1]
    assert applied("photos/a.png", "-o", "b.png", "--no-cache", "--no-metadata")[0] == 0
    assert read_record("b.png") is None


def test_a_folder_is_painted_once_and_what_has_changed_again(applied):
    command = "photos", "photos/*.jpg", "-o", "out", "--ending", ".bmp", "--no-cache"
    status, out, err = applied(*command)
    names = [os.path.join("out", name) for name in ("a-waves.bmp", "b-waves.bmp")]
    assert (status, out.split()) == (0, names)
    assert "2 inputs, 0 of them already painted" in err
    assert re.search(r"^2 inputs in .+ s, 0 failed$", err, re.MULTILINE)
    others = "jaxnst apply: notice: skipped: 1 file of other kinds (.txt)\n"
    assert applied(*command) == (0, "", others + "2 inputs, 2 of them already painted\n")
    save_image("photos/a.png", np.zeros((32, 40, 3), np.float32))
    words = "out/a-waves.bmp{}, made from other pictures or with other settings"
    assert words.format(" already exists") in applied(*command)[2]
    assert applied(*command, "--overwrite")[1].split() == names[:1]
    refused = applied(*command, "--size", "20")
    assert refused[:2] == (2, "") and words.format(" and 1 more already exist") in refused[2]
    assert load_image("out/b-waves.bmp").shape != (16, 20, 3)
    assert applied(*command, "--size", "20", "--overwrite")[1].split() == names
    assert load_image("out/b-waves.bmp").shape == (16, 20, 3)
    assert sorted(os.listdir("out")) == ["a-waves.bmp", "b-waves.bmp", "results.jsonl"]


def test_transparency_is_kept_where_the_file_can_hold_it(applied):
    alpha = np.linspace(0, 1, 32 * 40).reshape(32, 40, 1)
    picture = np.concatenate([load_image("photos/a.png"), alpha], -1)
    save_image("clear.png", picture)
    assert applied("clear.png", "-o", "out.png", "--no-cache")[0] == 0
    np.testing.assert_allclose(load_image("out.png", alpha=True)[..., 3:], alpha, atol=0.003)
    _, _, err = applied("clear.png", "-o", "out.jpg", "--no-cache")
    assert "notice: clear.png is transparent, which out.jpg cannot be" in err


def test_a_bad_input_costs_itself_only(applied):
    Path("photos/broken.jpg").write_bytes(Path("photos/b.jpg").read_bytes()[:300])
    needs_av()
    Path("text.mp4").write_text("a text")
    bad = "text.mp4", "missing.png", "photos/notes.txt"
    status, out, err = applied("photos", *bad, "-o", "out", "--no-cache")
    assert status == 1 and len(out.split()) == 2
    for text in (
        "broken-waves.png failed: photos/broken.jpg is cut short or damaged",
        "text-waves.mp4 failed: text.mp4 is not a film that can be read",
        "missing-waves.png failed: missing.png does not exist",
        "notes-waves.png failed: photos/notes.txt has the extension of neither a picture nor a",
    ):
        assert text in err
    assert re.search(r"^2 inputs in .+ s, 4 failed$", err, re.MULTILINE)
    assert [bool(record["error"]) for record in records()].count(True) == 4
    Path("photos/broken.jpg").unlink()
    status, out, err = applied("photos", *bad, "-o", "out", "--no-cache")
    assert (status, out) == (1, "") and "2 of them already painted" in err
    os.remove("out/a-waves.png")
    status, out, err = applied("photos", *bad, "-o", "out", "--no-cache", "--json", "--quiet")
    lines = list(map(json.loads, out.splitlines()))
    assert [line["output"] for line in lines if line["event"] == "saved"] == ["out/a-waves.png"]
    failed = {line["output"]: line["error"] for line in lines if line["event"] == "failed"}
    assert len(failed) == 3 and failed["out/missing-waves.png"].startswith("missing.png does")
    assert {"event": "progress", "done": 3, "inputs": 4, "share": 0.75} in lines


def test_what_does_not_fit_into_memory_is_refused(applied, monkeypatch):
    monkeypatch.setattr(device, "available_memory", lambda _: 100_000)
    status, _, err = applied("photos/a.png", "-o", "out.png", "--no-cache")
    assert status == 1
    assert "error: 40x32 needs about 100 KiB of memory, 98 KiB is available: use a" in err


def test_maps_of_sixteen_bits_need_half_the_memory_of_an_accelerator(monkeypatch):
    monkeypatch.setattr(device, "available_memory", lambda _: 60_000)
    size, channels = (32, 40), 4
    gpu, cpu = (types.SimpleNamespace(platform=platform) for platform in ("gpu", "cpu"))
    plain = inspect.unwrap(device.refuse_too_large)  # beneath pytest's own check of types
    plain(size, channels, gpu, precision="bfloat16")
    for where, precision in ((gpu, "float32"), (gpu, "tf32"), (cpu, "bfloat16")):
        with pytest.raises(ValueError, match="40x32 needs about 100 KiB"):
            plain(size, channels, where, precision=precision)


# Films.


def test_a_film_and_a_picture_go_to_one_folder(applied):
    needs_av()
    write_film("clip.mp4")
    Path("clip.mp4").write_bytes(turned(Path("clip.mp4").read_bytes()))
    status, out, _ = applied("clip.mp4", "photos/a.png", "-o", "out", "--batch", "3", "--no-cache")
    assert status == 0
    assert out.split() == [os.path.join("out", n) for n in ("clip-waves.mp4", "a-waves.png")]
    times, pictures, sound = read_back("out/clip-waves.mp4")
    assert len(times) == 6 and pictures.shape[1:] == (40, 32, 3) and sound > 0.4
    import av

    with av.open("clip.mp4") as film:
        first = np.rot90(next(film.decode(video=0)).to_ndarray(format="rgb24"), -1)
    painted = apply_model(load_model("waves.safetensors"), np.float32(first / 255))
    assert np.abs(pictures[0] - 255 * np.asarray(painted)).mean() < 12
    status, out, err = applied("clip.mp4", "-o", "out", "--no-cache")
    assert (status, out, err) == (0, "", "1 input, 1 of them already painted\n")


def test_a_film_that_was_cut_is_kept_with_a_notice(applied):
    needs_av()
    write_film("clip.mp4", count=40, options={"movflags": "+faststart"})
    data = Path("clip.mp4").read_bytes()
    Path("clip.mp4").write_bytes(data[: len(data) * 3 // 4])
    command = "clip.mp4", "-o", "out.mp4", "--precision", "bfloat16", "--no-cache"
    status, _, err = applied(*command)
    assert status == 0 and "notice: clip.mp4 is cut short: the" in err
    assert 5 < len(read_back("out.mp4")[0]) < 40


def test_without_pyav_films_fail_and_pictures_are_painted(applied, monkeypatch):
    monkeypatch.setattr(apply.film.decode, "find_spec", lambda _: None)
    Path("clip.mp4").write_text("whatever")
    status, out, err = applied("clip.mp4", "photos/a.png", "-o", "out", "--no-cache")
    assert status == 1 and out.split() == [os.path.join("out", "a-waves.png")]
    assert "failed: films need PyAV: pip install 'jaxnst[watch]'" in err


def test_how_long_a_film_still_takes_is_told(monkeypatch, capsys):
    parsed = apply._parser("jaxnst apply").read(["m", "clip.mp4", "-o", "out.mp4"])
    flags = apply.read_fields(apply.ApplyFlags, parsed)
    row = apply.Row("clip.mp4", ("m",), "out.mp4")
    facts = apply.film.Film((32, 40), Fraction(10), 100)
    now = 0.0
    monkeypatch.setattr("jaxnst.cli.progress.time.monotonic", lambda: now)
    messages = Messages("jaxnst apply", quiet=False)
    work = apply.Work([row], None, flags, messages)
    report = work.film_progress(facts, (32, 40))
    now = 10.0
    report(4)
    now = 20.0
    report(24)
    assert capsys.readouterr().err.splitlines() == [
        "  4%  4/100 frames of 40x32",
        " 24%  24/100 frames of 40x32  0:38 left",
    ]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals for one process")
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGHUP", 129)])
def test_a_film_that_is_stopped_leaves_nothing_behind(folder, name, code):
    needs_av()
    write_film("clip.mp4", count=3000, sound=None)
    command = [sys.executable, "-m", "jaxnst", "apply", "waves.safetensors", "clip.mp4"]
    command += ["-o", "out", "--batch", "1", "--no-cache"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 600
    while not list(Path("out").glob(".jaxnst-*.tmp")) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(getattr(signal, name))
    _, err = process.communicate(timeout=600)
    assert process.returncode == code
    assert err.endswith("what is finished is saved; run the same command again to resume\n")
    assert not os.listdir("out")  # nor the lock


# Flags.


def test_models_that_ship_are_listed_and_go_by_their_names(call, folder, monkeypatch):
    assert "no bundled models" in call("apply", "--list")[1] or weights.bundled_styles()
    shipped = {"waves": folder / "waves.safetensors"}
    for module in (apply, sys.modules["jaxnst.feedforward.models"]):
        monkeypatch.setattr(module, "bundled_styles", lambda: shipped)
    assert call("apply", "--list") == (0, "waves  random numbers\n", "")
    assert call("apply", "waves", "photos/a.png", "-o", "out.png", "--no-cache")[0] == 0
    for _ in range(2):  # the second time there is a folder of the model's name
        assert call("apply", "waves", "photos", "-o", "waves", "--no-cache")[0] == 0
    status, _, err = call("apply", "wave", "photos/a.png", "-o", "out.png")
    assert status == 1
    assert err == (
        "jaxnst apply: error: there is no model wave: give an existing file, or a bundled model "
        "(waves)\n"
    )


def test_a_loss_network_is_refused_in_one_line(call):
    path = weights.bundled("vgg16-lite.safetensors")
    status, _, err = call("apply", path, "photos/a.png", "-o", "out.png")
    assert status == 1 and err.count("\n") == 1 and "is not a transformation network" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("photos",), "give a folder for the results: -o FOLDER"),
        (("photos", "-o", "out.png"), "-o out.png is a file, but there are 2 inputs"),
        (("photos", "-o", "waves.safetensors"), "is a file, but there are 2 inputs: name a folder"),
        (("photos/a.png", "-o", "photos/a.png"), "would overwrite an input: use another name"),
        (("photos/a.png", "-o", "-"), "-o -: jaxnst apply does not write to standard output"),
        (("photos", "-o", "photos/"), "-o photos/ contains inputs: use another folder"),
        (("photos/*.png", "-o", "photos"), "-o photos contains inputs: use another folder"),
        (("photos/a.png", "photos/b.jpg", "-o", "photos"), "-o photos contains inputs"),
        (("photos/a.png", "-o", "out.heic"), "has the extension .heic, expected one of .jpg"),
        (("photos/q*.png", "-o", "out"), "there is no picture or film in photos/q*.png"),
        (("photos/a.png", "photos/b.jpg", "--quality", "9", "-o", "out"), "--quality is for JPEG"),
        (("photos/a.png", "a.jpg", "-o", "out"), "out/a-waves.png would be made twice, from"),
        (("photos/a.png", "-o", "out", "--batch", "0"), "--batch: 0 is out of range"),
        (("photos/a.png", "-o", "out", "--batches", "2"), "unknown flag --batches: did you mean"),
    ],
)
def test_flags_that_make_no_sense_are_refused(applied, arguments, message):
    status, out, err = applied(*arguments)
    assert (status, out) == (2, "") and err.count("\n") == 1
    assert message in err.replace(os.sep, "/")
    assert not Path("out").exists()


def test_names_that_are_too_long_are_refused_before_anything_is_painted(applied):
    long = "a" * 249  # with "-waves.png" too long, though a name of a picture
    os.rename("photos/a.png", f"photos/{long}.png")
    os.remove("photos/notes.txt")
    status, out, err = applied("photos", "-o", "out", "--no-cache")
    words = f"out/{long}-waves.png cannot be written (File name too long): choose another name"
    assert (status, out, err) == (1, "", f"jaxnst apply: error: {words}\n")
    assert not list(Path("out").iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("photos/a.png", "-o", "missing/out.png"), "folder .* does not exist: create it"),
        (("photos/a.png", "-o", "out.mp4"), "out.mp4 has the extension .mp4, expected one of .jpg"),
        (("clip.mp4", "-o", "n" * 252 + ".mp4"), "cannot be written .File name too long.: choose"),
        (("clip.mp4", "-o", "out.avi"), "out.avi has the extension .avi, expected one of .mp4"),
    ],
)
def test_outputs_that_cannot_be_written_are_refused(applied, arguments, message):
    needs_av()
    status, out, err = applied(*arguments)
    assert (status, out) == (1, "") and err.count("\n") == 1
    assert re.search(message, err)
