"""``jaxnst train``: what it writes, refuses and survives."""

import dataclasses
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import helpers
import numpy as np
import pytest
import train_process

from jaxnst.cli import training
from jaxnst.cli.interrupt import Stopped
from jaxnst.feedforward import Model, apply_model, load_model, save_model
from jaxnst.feedforward.checkpoints import MARK
from jaxnst.feedforward.training import initial_parameters
from jaxnst.image import load_image, save_image

GIVEN = ("train", "style.png", "--images", "photos")
TINY = ("--crop", "32", "--batch", "2", "--widths", "4", "--blocks", "1", "--style-size", "48")
TINY += ("--style-layers", "relu1_1", "--content-layers", "relu2_1", "--no-cache")


def fill(folder):
    """Put a style and photographs into a folder."""
    (folder / "photos" / "more").mkdir(parents=True)
    save_image(folder / "style.png", helpers.picture(40, 60, seed=9))
    for i in range(3):
        save_image(folder / "photos" / "more" / f"{i}.jpg", helpers.picture(48, 64, seed=i))
    (folder / "photos" / "broken.jpg").write_bytes(b"no picture")
    save_image(folder / "photos" / "small.png", helpers.picture(15, 20))


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    fill(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder in which one run went through, and another was stopped and killed on the way."""
    if not hasattr(os, "fork"):
        pytest.skip("processes are forked")
    folder = tmp_path_factory.mktemp("runs")
    fill(folder)
    cache = {"JAX_COMPILATION_CACHE_DIR": str(folder / "cache")}
    cache |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    cache |= {"JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1"}
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("train_process.py"), folder],
        env=os.environ | cache,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (folder / "seen.json").write_text(done.stdout)
    return folder


def test_a_network_is_trained_watched_and_written(runs):
    told = (runs / "whole.log").read_text()
    assert json.loads((runs / "seen.json").read_text())["whole"] == 0, told
    assert "notice: left out: " in told and "broken.jpg" in told
    assert "left out: 1 of 4 pictures, whose shorter side is less than half" in told
    assert "step 24/24, loss " in told and " = content " in told and "Traceback" not in told
    assert told.endswith("whole/model.safetensors\n")
    assert "\nto paint with it: jaxnst apply whole/model.safetensors PICTURE\n" in told
    files = {"model.safetensors", "model-samples.png", "log.jsonl", "plot.png"}
    assert set(os.listdir(runs / "whole")) == files
    lines = [json.loads(line) for line in (runs / "whole/log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [*range(1, 25)]
    assert set(lines[0]["losses"]) == {"total", "content", "style", "tv", "grid"}
    assert lines[-1]["losses"]["total"] < 0.8 * lines[0]["losses"]["total"]
    assert load_image(runs / "whole/model-samples.png").shape[0] > 2 * 256
    model = load_model(runs / "whole/model.safetensors")
    assert model.module.widths == (4,) and model.facts["style"] == "A Pattern, nobody, 2026"
    assert model.facts["pictures"] == "3" and model.facts["steps"] == "24"
    assert json.loads(model.facts["training"])["optimizer"] == "adam"
    assert json.loads(model.facts["losses"])["total"] == pytest.approx(
        np.mean([line["losses"]["total"] for line in lines]), rel=1e-3
    )
    assert apply_model(model, helpers.picture(30, 50)).shape == (30, 50, 3)


def test_stopped_and_killed_a_run_goes_on_as_if_undisturbed(runs):
    seen = json.loads((runs / "seen.json").read_text())
    told = (runs / "cut.log").read_text()
    assert (seen["SIGINT"], seen["SIGHUP"]) == (130, 129), told
    assert (seen["killed"], seen["end"]) == (-signal.SIGKILL, 0), told
    assert seen["left"] == ["log.jsonl", "model-checkpoint", "model.safetensors"]
    assert seen["same"] == [True, True, ["log.jsonl", "model.safetensors"]], told
    assert "the network so far is saved, and the same command resumes" in told
    assert "resuming from cut/model-checkpoint, after" in told and "Traceback" not in told


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (("--steps", "25"), "its steps is 24, this one 25; repeat the settings of that"),
        (("--tv-weight", "2"), r"its recipe's tv.weight is 1.5, this one 2.0; repeat the"),
    ],
)
def test_a_run_goes_on_under_its_own_settings_only(call, runs, monkeypatch, changes, text):
    monkeypatch.chdir(runs)
    given = (*train_process.GIVEN, "-o", "again.safetensors", "--checkpoint", "kept", "--no-cache")
    status, out, err = call("train", *given, "--samples", "0", *changes)
    assert (status, out) == (1, "") and text in err, err
    anew = r"that run, or start over in another folder of checkpoints, or delete \S*kept, or "
    anew += r"add --overwrite to replace it\n"
    assert re.search(anew, err), err


def test_what_a_run_that_diverges_leaves_is_not_gone_on_from(call):
    given = (*GIVEN, "-o", "m.safetensors", "--steps", "3", "--rate", "1e30", "--warmup", "0")
    given = (*given, *TINY, "--samples", "0", "--checkpoint", "kept", "--checkpoint-every", "0")
    status, _, err = call(*given)
    where = "in another folder of checkpoints or after deleting this one"
    assert status == 1 and f"start over with a smaller rate than 1e+30, {where}\n" in err, err
    assert not Path("m.safetensors").exists()
    assert "start over in another folder" in call(*given, "--rate", "1e-3")[2]
    shutil.rmtree("kept")
    assert call(*given, "--rate", "1e-3")[0] == 0


def test_a_run_in_the_folder_of_its_pictures_goes_on(call, monkeypatch):
    monkeypatch.chdir("photos")
    for i in range(7):
        save_image(f"{i}.jpg", helpers.picture(48, 64, seed=i))
    given = ("train", "../style.png", "--images", ".", "-o", "m.safetensors", "--steps", "1", *TINY)
    given += ("--checkpoint", "kept/", "--plot", "losses.png")
    for more in ((), ("--sample", "../style.png")):
        Path("m.safetensors").unlink(missing_ok=True)  # or there would be nothing to do
        status, _, err = call(*given, *more)
        assert status == 0, err
        assert Path("m-samples.png").exists() and Path("losses.png").exists()
    assert "resuming from kept/, after 1 step" in err
    assert os.listdir("kept") and not Path("kept.lock").exists()
    assert load_model("m.safetensors").facts["pictures"] == "9"  # and one that is held out


def test_a_training_that_has_ended_can_be_run_again_in_the_folder_of_its_pictures(call):
    given = (*GIVEN, "-o", "photos/m.safetensors", "--steps", "1", *TINY)
    found = []
    for _ in range(2):
        status, _, err = call(*given)
        assert status == 0 and Path("photos/m-samples.png").exists(), err
        found.append(Path("photos/m.safetensors").read_bytes())
    assert found[0] == found[1] and "is already trained" in err


def test_a_network_is_not_replaced_by_that_of_another_training(call, folder):
    given = (*GIVEN, "-o", "m.safetensors", *TINY, "--samples", "0", "--steps")
    assert call(*given, "2")[0] == 0
    before = Path("m.safetensors").read_bytes()
    status, out, err = call(*given, "2", "--log", "log.jsonl")
    words = "m.safetensors is already trained with the same pictures and settings: nothing "
    assert (status, out) == (0, "m.safetensors\n"), err
    assert f"jaxnst train: {words}is left to do\n" in err and not Path("log.jsonl").exists()
    save_image("other.png", helpers.picture(40, 60, seed=8))
    other = ("train", "other.png", *given[2:])
    for command in ((*given, "3"), (*other, "2")):
        status, out, err = call(*command)
        words = "-o m.safetensors already exists, trained for style.png or with other settings: "
        words += "use another name, or add --overwrite to replace it"
        assert (status, out) == (2, "") and f"jaxnst train: error: {words}\n" in err, err
        assert not Path("m-checkpoint").exists()
    assert Path("m.safetensors").read_bytes() == before
    assert call(*other, "2", "--overwrite")[0] == 0
    assert load_model("m.safetensors").facts["style"] == "other.png"
    Path("m.safetensors").write_bytes(b"of something else")
    status, _, err = call(*other, "2")
    assert status == 2 and "-o m.safetensors already exists: use another name" in err, err


def test_a_network_so_far_without_its_checkpoint_is_not_replaced(call):
    given = (*GIVEN, "-o", "m.safetensors", *TINY, "--samples", "0", "--steps", "4")
    assert call(*given, "--checkpoint", "kept")[0] == 0
    model = load_model("m.safetensors")
    facts = dict(model.facts) | {"steps": "2 of 4"}
    save_model("m.safetensors", dataclasses.replace(model, facts=facts))
    before = Path("m.safetensors").read_bytes()
    status, _, err = call(*given)
    words = "exists, after 2 of 4 steps of this training run, whose checkpoint is missing: use"
    assert status == 2 and words in err, err
    assert Path("m.safetensors").read_bytes() == before
    # With its checkpoint it goes on.
    assert call(*given, "--checkpoint", "kept")[0] == 0
    assert load_model("m.safetensors").facts["steps"] == "4"


def test_checkpoints_of_another_training_are_replaced_only_if_that_is_said(call):
    given = (*GIVEN, "-o", "m.safetensors", *TINY, "--samples", "0", "--checkpoint", "kept")
    assert call(*given, "--steps", "4")[0] == 0
    Path("m.safetensors").unlink()
    status, _, err = call(*given, "--steps", "2")
    assert status == 1 and "its steps is 4, this one 2" in err
    assert "or add --overwrite to replace it\n" in err
    status, _, err = call(*given, "--steps", "2", "--overwrite")
    assert status == 0 and "kept is from a run with other settings: it is replaced" in err, err
    assert load_model("m.safetensors").facts["steps"] == "2"
    Path("m.safetensors").unlink()
    assert "resuming from kept, after 2 steps" in call(*given, "--steps", "2")[2]


def test_a_network_that_cannot_be_saved_is_kept_elsewhere(call, folder, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    plain = training.save_model

    def full(path, model):
        if str(path) == "m.safetensors":
            raise OSError(28, "No space left on device", path)
        plain(path, model)

    monkeypatch.setattr(training, "save_model", full)
    status, out, err = call(*GIVEN, "-o", "m.safetensors", "--steps", "1", *TINY, "--samples", "0")
    (kept,) = folder.glob("jaxnst-*/m.safetensors")
    assert (status, out) == (1, "") and f"No space left on device; the network is in {kept}" in err
    assert load_model(kept).facts["steps"] == "1"


def test_a_network_without_a_name_is_named_after_its_style(call, monkeypatch):
    names = []
    monkeypatch.setattr(
        training, "train_style", lambda flags, *_: names.extend((flags.output, flags.sheet)) or 0
    )
    assert call(*GIVEN, *TINY)[0] == 0 and names == ["style.safetensors", "style-samples.png"]


def test_a_run_that_goes_on_has_all_steps_and_ends_with_a_network(call, monkeypatch):
    def stoppable(work):
        while not Path("log.jsonl").exists():
            time.sleep(0.002)
        raise Stopped(signal.SIGINT)

    def draw(*_, evaluations, **__):
        drawn.append(evaluations)

    drawn = []
    monkeypatch.setattr("jaxnst.cli.training.stoppable", stoppable)
    monkeypatch.setattr("jaxnst.cli.training.leave", lambda status: pytest.fail("no network"))
    monkeypatch.setattr("jaxnst.cli.training.save_losses", draw)
    given = (*GIVEN, "-o", "m.safetensors", "--steps", "2000", *TINY, "--samples", "0")
    for _ in range(2):  # the second is stopped while it compiles
        status, _, err = call(*given, "--log", "log.jsonl", "--plot", "plot.png")
        assert status == 130, err
        steps = int(load_model("m.safetensors").facts["steps"].removesuffix(" of 2000"))
        assert len(drawn[-1]) == min(steps, 400) and drawn[-1][-1] == steps, err
        os.unlink("m.safetensors")
    assert len(drawn[0]) < len(drawn[1])


def test_a_checkpoint_is_deleted_while_nobody_else_can_begin(call, monkeypatch):
    locked, delete = [], shutil.rmtree

    def deleted(folder, **more):
        locked.append((folder, os.path.exists(f"{folder}.lock")))
        delete(folder, **more)

    monkeypatch.setattr(shutil, "rmtree", deleted)
    status, _, err = call(*GIVEN, "-o", "m.safetensors", "--steps", "1", *TINY, "--samples", "0")
    assert status == 0, err
    assert locked == [("m-checkpoint", True)] and not Path("m-checkpoint").exists()


@pytest.mark.parametrize("there", [False, True])
def test_a_run_that_fails_before_its_first_step_leaves_no_checkpoint(call, there):
    photo = Path("photos/more/0.jpg")
    photo.write_bytes(photo.read_bytes()[:-500])
    for other in ("more/1.jpg", "more/2.jpg", "broken.jpg"):
        Path("photos", other).unlink()
    if there:
        Path("m-checkpoint").mkdir()
    status, _, err = call(*GIVEN, "-o", "m.safetensors", "--steps", "1", *TINY, "--samples", "0")
    assert status == 1 and "none of 1 pictures in a row can be read" in err, err
    left = ["m-checkpoint"] if there else []
    assert sorted(os.listdir()) == [*left, "photos", "style.png"]
    assert not there or os.listdir("m-checkpoint") == []


def test_a_run_of_which_no_checkpoint_could_be_written_ends_with_a_network(call, monkeypatch):
    usage = shutil.disk_usage(".")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=0))
    status, _, err = call(*GIVEN, "-o", "m.safetensors", "--steps", "1", *TINY, "--samples", "0")
    assert status == 0 and "could not be written (No space left on device)" in err, err
    assert sorted(os.listdir()) == ["m.safetensors", "photos", "style.png"]


def test_a_training_that_is_stopped_before_a_step_leaves_nothing(call, monkeypatch):
    def stoppable(work):
        assert compiling.wait(60)
        raise Stopped(signal.SIGINT)

    def train(*_, **__):
        compiling.set()
        time.sleep(1)

    def leave(status):
        ended.append((status, os.path.exists("m-checkpoint")))
        raise SystemExit(status)

    compiling, ended = threading.Event(), []
    monkeypatch.setattr("jaxnst.cli.training.stoppable", stoppable)
    monkeypatch.setattr("jaxnst.cli.training.leave", leave)
    monkeypatch.setattr("jaxnst.cli.training.train", train)
    given = (*GIVEN, "-o", "m.safetensors", "--steps", "1", *TINY, "--samples", "0")
    assert call(*given)[0] == 130 and ended == [(130, False)]


def test_no_picture_is_taken_for_one_of_a_training_without_a_step(call):
    Path("m-checkpoint").mkdir()
    Path("m-checkpoint", MARK).write_text("as it says\n")
    photo = Path("photos/plot.png")
    save_image(photo, helpers.picture(48, 64))
    status, _, err = call(*GIVEN, "-o", "m.safetensors", *TINY, "--plot", str(photo))
    assert status == 2 and f"--plot {photo} would overwrite a training picture" in err, err


def test_names_that_are_no_text_give_a_model_that_can_be_read(call, monkeypatch):
    style, output = os.fsdecode(b"caf\xe9.png"), os.fsdecode(b"m\xe9.safetensors")
    try:
        os.rename("style.png", style)
    except OSError:
        pytest.skip("the file system knows no such names")
    monkeypatch.setattr("jaxnst.cli.messages.print_line", lambda path: None)
    given = ("train", style, "--images", "photos", "-o", output, "--steps", "1", *TINY)
    status, _, err = call(*given, "--samples", "0")
    assert status == 1 and r"udce9-checkpoint' cannot be a folder of checkpoints" in err, err
    status, _, err = call(*given, "--samples", "0", "--checkpoint", "kept")
    assert status == 0, err
    model = load_model(output)
    assert (model.name, model.facts["style"]) == (r"'m\udce9'", r"'caf\udce9.png'")


def test_no_picture_to_train_on_is_overwritten(call):
    photo = Path("photos/m-samples.png")
    save_image(photo, helpers.picture(48, 64))
    before = photo.read_bytes()
    for flags, text in (
        (("-o", "photos/m.safetensors"), "--samples photos/m-samples.png would overwrite a trai"),
        (("-o", "m.safetensors", "--plot", photo), f"--plot {photo} would overwrite a training pi"),
    ):
        status, _, err = call(*GIVEN, "--steps", "1", *TINY, *map(str, flags))
        assert status == 2 and f"jaxnst train: error: {text}" in err, err
    assert photo.read_bytes() == before


REFUSED = [
    (("--images", "none"), 1, "folder none does not exist"),
    (("--images", "style.png"), 1, "style.png is a file, expected a folder of pictures"),
    (("--crop", "512"), 1, "1 cannot be read and 4 have fewer than 256 pixels on the shorter side"),
    (("-o", "none/m.safetensors"), 1, "folder .*none does not exist"),
    (("-o", "m.pth"), 2, "-o: m.pth has the extension .pth, expected one of .safetensors"),
    (("--checkpoint", "none/k"), 2, "--checkpoint: folder .*none does not exist: create it"),
    (("--checkpoint", "photos"), 1, "photos holds files other than checkpoints"),
    (("--checkpoint", "k" * 255), 2, "--checkpoint: .*kkk.lock cannot be written .File name too"),
    (("-o", "m" * 250 + ".safetensors"), 1, "mmm.safetensors cannot be written .File name too lo"),
    (("-o", "m" * 240 + ".safetensors"), 2, "--checkpoint: .*-checkpoint.lock cannot be written"),
    (("--log", "m" * 256), 1, "mmm cannot be written .File name too long.: choose another name"),
    (("--plot", "plot.txt"), 1, "plot.txt has the extension .txt"),
    (("--log", "style.png"), 2, "--log style.png would overwrite an input"),
    (("--checkpoint", "-"), 2, "--checkpoint -: only the picture can go to standard output"),
    (("--log", "-"), 2, "--log -: only the picture can go to standard output: use another name"),
    (("--log", "m-samples.png"), 2, "--log m-samples.png is also the file of --samples"),
    (("--recipe", "gatys"), 2, "--recipe: unknown recipe 'gatys': did you mean 'gatys2016'"),
    (("--style-layers", "relu9_1"), 2, "vgg16-lite has no layer relu9_1"),
    (("--style-weight", "-1"), 2, "style weight is -1.0, expected a number from 0"),
    (("--style-weight", "0", "--content-weight", "0"), 2, "are both 0: nothing to optimize"),
    (("--rate", "0"), 2, "rate is 0.0, expected a number above 0"),
    (("--widths", "4,x"), 2, "--widths: 'x' is not a whole number"),
    (("--widths", "4,4,4,4,4,4"), 2, "--crop is 32, but these --widths need at least 64 pixels"),
    (("--sample", "none.png"), 1, "none.png does not exist"),
    (("--begin", "none.safetensors"), 2, "--widths cannot be combined with --begin, which keeps"),
    (("--step", "4"), 2, "unknown flag --step: did you mean --steps?"),
]


@pytest.mark.parametrize(("flags", "status", "text"), REFUSED)
def test_what_cannot_be_is_refused_in_one_line(call, flags, status, text):
    found = call(*GIVEN, "-o", "m.safetensors", "--steps", "1", *TINY, *flags)
    assert found[:2] == (status, "")
    last = found[2].splitlines()[-1]
    assert re.search(f"^jaxnst train: error: .*{text}", last), last
    assert not Path("m.safetensors").exists() and not Path("m-checkpoint.lock").exists()


def test_a_network_begins_with_one_that_was_trained(call, runs, monkeypatch):
    monkeypatch.chdir(runs)
    given = tuple(flag for flag in train_process.GIVEN if flag not in ("--widths", "4"))
    given = (*given[: given.index("--blocks")], *given[given.index("--blocks") + 2 :])
    given = (*given, "--steps", "2", "--samples", "0", "--no-cache", "--rate", "1e-6")
    begin = ("--begin", "whole/model.safetensors")
    status, _, err = call("train", *given, "-o", "more.safetensors", "--log", "more.jsonl", *begin)
    assert status == 0, err
    first, last = (
        json.loads(lines[0 if name == "more" else -1])["losses"]["total"]
        for name in ("more", "whole/log")
        for lines in [Path(f"{name}.jsonl").read_text().splitlines()]
    )
    assert first == pytest.approx(last, rel=0.3)
    more, whole = (load_model(f"{name}.safetensors") for name in ("more", "whole/model"))
    assert more.module == whole.module and more.facts["begun_with"] == "model.safetensors"
    kernels = (model.params["conv1"]["kernel"] for model in (more, whole))
    np.testing.assert_allclose(*kernels, atol=1e-3)


def test_what_a_network_cannot_begin_with_is_refused(call, runs):
    model = load_model(runs / "whole/model.safetensors")
    module = model.module.clone(normalization="batch")
    params = initial_parameters(module.shapes())
    save_model("batch.safetensors", Model("batch", module, params))
    Path("text.safetensors").write_text("no model")
    given = (*GIVEN, "-o", "m.safetensors", "--steps", "1", "--crop", "32", "--no-cache", "--begin")
    for name, text in (
        ("none", "there is no model none"),
        ("text.safetensors", "text.safetensors"),
        ("batch.safetensors", "batch.safetensors has batch normalization, whose statistics"),
    ):
        status, _, err = call(*given, name)
        assert status == 1 and f"jaxnst train: error: {text}" in err, err
    assert not Path("m.safetensors").exists()


def test_a_style_that_is_missing_or_broken_is_refused(call):
    Path("broken.png").write_bytes(b"no picture")
    for style, text in (("none.png", "does not exist"), ("broken.png", "is not a JPEG, PNG")):
        status, _, err = call("train", style, "--images", "photos", "-o", "m.safetensors")
        assert status == 1 and re.fullmatch(f"jaxnst train: error: {style} {text}.*\n", err)


def test_missing_libraries_are_named(call, monkeypatch):
    find = importlib.util.find_spec
    gone = ("grain",)
    monkeypatch.setattr(
        "jaxnst.cli.train.find_spec", lambda name: None if name in gone else find(name)
    )
    status, _, err = call(*GIVEN, "-o", "m.safetensors")
    assert status == 2
    assert "training needs grain: pip install 'jaxnst[train]'" in err
