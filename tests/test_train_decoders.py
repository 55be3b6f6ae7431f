"""``scripts/train_decoders.py``: what it refuses, what decides a run of it, and how one goes on."""

import argparse
import re
import signal
import sys
from pathlib import Path

import helpers
import pytest

from jaxnst.cli.messages import Messages
from jaxnst.feedforward.decoders import BUNDLED, bundled
from jaxnst.image import save_image
from jaxnst.weights import read_parameters, write_parameters

sys.path.append(str(Path(__file__).parents[1] / "scripts"))

import decoder_losses
import pictures as shared
import train_decoders

SMALL = {"crop": 64, "steps": 10, "batch": 2, "rate": 0.004, "warmup": 1, "seed": 0}
SMALL |= {"feature_weight": 0.01, "down_steps": 5, "down_rate": 0.004, "network": "vgg19-lite"}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """As many pictures as are kept out; one has a side of 256 pixels."""
    folder = tmp_path_factory.mktemp("photos")
    for i in range(shared.HELD_OUT):
        save_image(folder / f"{i}.png", helpers.picture(256 if i == 3 else 80, 256, seed=i))
    return folder


def trainer(photos, **changes):
    given = SMALL | {"images": photos, "held_out": "3", "weights": None, "begin": None}
    given |= {"out": photos.parent, "workers": 0, "levels": (1,)}
    messages = Messages("test", quiet=True)
    return train_decoders.Trainer(argparse.Namespace(**given | changes), None, messages)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"held_out": None}, "16 of 16 pictures are held out, which leaves none to train on: give"),
        ({"held_out": ",".join(map(str, range(16)))}, "16 of 16 pictures .* by --held-out"),
        ({"held_out": "3,tree,sea"}, "--held-out: there is no picture sea, tree"),
        ({"held_out": "1,2"}, "none of 2 held-out pictures can be read and has 256"),
    ],
)
def test_pictures_that_are_too_few_or_too_small_are_refused_in_one_line(photos, changes, text):
    with pytest.raises(ValueError, match=text):
        trainer(photos, **changes)


def test_a_run_is_known_by_what_decides_it(photos, tmp_path):
    words = trainer(photos).fingerprint
    aside = {"workers": 2, "out": tmp_path / ".." / tmp_path.name, "levels": (1, 2)}
    assert trainer(photos, **aside).fingerprint == words
    assert trainer(photos, feature_weight=0.1).fingerprint != words
    assert trainer(photos, held_out="3,4").fingerprint != words

    begin = tmp_path / "begin.safetensors"
    found, metadata = read_parameters(bundled(BUNDLED["vgg19-lite"]))
    metadata.pop("format", None)
    seen = [words]
    for factor in (1, 2):
        changed = {name: factor * values for name, values in found.items()}
        write_parameters(begin, changed, metadata=metadata)
        seen.append(trainer(photos, begin=begin).fingerprint)
    assert len({word["begin"] for word in seen}) == 3


@pytest.fixture
def call(capsys):
    """Call the script in this process: status, stdout, stderr."""

    def command(*arguments):
        try:
            status = train_decoders.main([str(argument) for argument in arguments])
        except SystemExit as stop:
            status = stop.code
        return status, *capsys.readouterr()

    return command


@pytest.fixture
def folder(photos, tmp_path, monkeypatch):
    """Where there is much that cannot be used."""
    monkeypatch.chdir(tmp_path)
    Path("photos").symlink_to(photos)
    for name in ("empty", "cut", "damaged"):
        Path(name).mkdir()
    for i in range(1, 9):
        save_image(f"cut/{i}.jpg", helpers.picture(256, 256, seed=i))
    for name, most in (("0", 20), ("3", 5000), ("6", 5000)):
        Path(f"cut/{name}.jpg").write_bytes(Path("cut/1.jpg").read_bytes()[:most])
    save_image("cut/small.png", helpers.picture(15, 20))
    whole = Path(bundled(BUNDLED["vgg19-lite"])).read_bytes()
    for name in ("damaged.safetensors", "damaged/decoders.safetensors"):
        Path(name).write_bytes(whole[: len(whole) // 2])
    Path("network.safetensors").write_bytes(Path(bundled("vgg19-lite.safetensors")).read_bytes())
    return tmp_path


REFUSED = [
    (("--images", "none"), "folder none does not exist: check the name"),
    (("--images", "empty"), "empty and its subfolders hold no pictures .*: give another folder"),
    (("--out", "network.safetensors"), "--out network.safetensors is a file, expected a folder"),
    (("--out", "network.safetensors/runs"), "network.safetensors/runs: Not a directory"),
    (("--out", "damaged"), "damaged/decoders.safetensors .*"),
    (("--steps", "0"), "--steps: 0 is out of range, expected at least 1"),
    (("--down-steps", "0"), "--down-steps: 0 is out of range, expected at least 1"),
    (("--batch", "2000"), "--batch: 2000 is out of range, expected 1 to 1024"),
    (("--levels", "x"), "--levels: 'x' is not a whole number"),
    (("--levels", "7"), "--levels: 7 is out of range, expected 1 to 5"),
    (("--rate", "0"), "rate is 0.0, expected a number above 0"),
    (("--down-rate", "nan"), "down rate is nan, expected a number above 0"),
    (("--feature-weight", "-1"), "feature weight is -1.0, expected a number from 0"),
    (("--begin", "none.safetensors"), "none.safetensors does not exist: check the name"),
    (("--begin", "network.safetensors"), "network.safetensors has no decoders, expected those of"),
    (("--begin", "damaged.safetensors"), "damaged.safetensors .*"),
    (("--network", "squeezenet1.1"), "--network squeezenet1.1 has no levels, which only VGGs hav"),
    (("--network", "vgg"), "unknown network 'vgg': did you mean 'vgg1.'?"),
    (("--weights", "none.pth"), "none.pth does not exist"),
    (("--images", "cut", "--held-out", "3"), "--held-out: cut/3.jpg is cut short or damaged"),
    (("--held-out", "tree"), "--held-out: there is no picture tree: check the names"),
    (("--step", "4"), "unknown flag --step: did you mean --steps?"),
]


@pytest.mark.parametrize(("flags", "text"), REFUSED)
def test_what_cannot_be_is_refused_in_one_line(call, folder, flags, text):
    given = ("--images", "photos", "--held-out", "3", "--crop", "64", "--out", "runs")
    status, out, err = call(*given, *flags)
    assert (status, out) == (2, ""), err
    last = err.splitlines()[-1]
    assert re.match(re.escape("train_decoders.py: error: ") + text, last), last
    others = err.splitlines()[:-1]
    assert all(line.startswith("train_decoders.py: notice: left out: ") for line in others), err


def test_what_is_left_out_is_named(call, folder, monkeypatch):
    monkeypatch.setattr(shared, "HELD_OUT", 2)
    monkeypatch.setattr(decoder_losses, "SOLVED", 2)
    given = ("--images", "cut", "--levels", "1", "--steps", "8", "--batch", "2", "--crop", "64")
    status, _, err = call(*given, "--out", "runs")
    expected = [
        r"left out: cut/0.jpg .*",
        r"left out: 1 of 9 pictures, whose shorter side is less than half of .*",
        r"held-out picture left out: cut/3.jpg is cut short or .*",
        r"cut/6.jpg is damaged; another picture replaces it",
    ]
    lines = err.splitlines()
    assert status == 0 and len(lines) == len(expected), err
    for line, text in zip(lines, expected, strict=True):
        assert re.fullmatch(f"train_decoders.py: notice: {text}", line), line


def stopping(monkeypatch, stops):
    """Send Ctrl-C at steps of what is trained, each once, and wait until it has been heard."""
    plain = train_decoders.Trainer.report_step

    def report_step(trainer, watch, report):
        plain(trainer, watch, report)
        if stops and (report.steps, report.step) == stops[0]:
            stops.pop(0)
            signal.raise_signal(signal.SIGINT)
            assert trainer.stop.wait(60)

    monkeypatch.setattr(train_decoders.Trainer, "report_step", report_step)


def test_stopped_a_run_goes_on_as_if_undisturbed(call, folder, signals, monkeypatch):
    monkeypatch.setattr(decoder_losses, "SOLVED", 4)
    given = ("--images", "photos", "--held-out", "3", "--levels", "1,2", "--batch", "2")
    given += ("--crop", "64", "--steps", "6", "--down-steps", "5", "--out")
    status, out, err = call(*given, "whole")
    assert status == 0 and out.endswith("whole/decoders.safetensors\n"), err
    stopping(monkeypatch, [(6, 3), (5, 2), (6, 4)])
    kept = [
        "level1 after 3 of 6 steps",
        "level 1, level2-down after 2 of 5 steps",
        "level 1, level2 after 4 of 6 steps",
    ]
    for text in kept:
        status, _, err = call(*given, "cut")
        assert status == 130, err
        last = f"train_decoders.py: stopped; saved: {text}; the same command resumes"
        assert err.splitlines()[-1] == last
    status, out, err = call(*given, "cut")
    assert status == 0 and "notice: resuming level2 after 4 steps" in err
    files = [Path(name, "decoders.safetensors").read_bytes() for name in ("whole", "cut")]
    assert files[0] == files[1]
    status, out, err = call(*given, "cut", "--rate", "0.001")
    assert (status, out.count("\n")) == (1, 1)
    assert "train_decoders.py: error: " in err and "its rate is 0.004, this one 0.001" in err
