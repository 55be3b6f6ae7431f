"""``--checkpoint`` on the command line: when it is written, gone on from, and refused."""

import json
import re
import time

import helpers
import numpy as np
import pytest

from jaxnst.cli import messages, watching
from jaxnst.image import save_image
from jaxnst.transfer import runner
from jaxnst.transfer.checkpoint import Checkpoint, load_checkpoint
from jaxnst.transfer.stylize import Progress

PICTURES = ("content.png", "style.png")
GIVEN = (*PICTURES, "--scales", "48", "--steps", "12", "--no-cache", *helpers.SHALLOW)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    save_image(tmp_path / "content.png", helpers.picture(40, 60))
    save_image(tmp_path / "style.png", helpers.picture(50, 40, seed=1))
    monkeypatch.chdir(tmp_path)
    return tmp_path


class PowerCut(BaseException):
    """Nothing is done about it."""


def progress(done=5):
    there = Checkpoint(0, (done,), ((0.0, 0.0),), 0, np.zeros((done, 4), np.float32), {}, {}, {})
    return Progress(
        "optimize", 0, 1, (9, 9), done, 9, done, 9, {}, lambda: None, 1.0, checkpoint=lambda: there
    )


@pytest.fixture
def saved(monkeypatch):
    """What is written, and how long each writing takes."""
    found = []

    def save(path, checkpoint):
        time.sleep(0.01)
        found.append((path, checkpoint.done))

    monkeypatch.setattr(watching, "save_checkpoint", save)
    return found


def keeper(seconds):
    return watching.Keeper("run.ck", seconds, messages.Messages("jaxnst-run", quiet=False))


# When it is written.


def test_it_is_written_now_and_then_and_at_the_end(saved):
    one = keeper(60)
    one(progress(1))
    assert not saved
    one.next -= 61
    one(progress(2))
    one(progress(3))
    assert saved == [("run.ck", 2)]
    one.close(None)
    assert saved[1:] == [("run.ck", 3)]


def test_writing_takes_a_small_share_of_the_time_however_often_it_is_asked_for(saved):
    one = keeper(0)
    one(progress(1))
    one(progress(2))
    assert len(saved) == 1 and one.next - time.monotonic() > 0.1


def test_nothing_is_written_of_a_run_that_has_not_begun(saved):
    one = keeper(60)
    one.close(None)
    one(progress(0))
    one.close(None)
    assert not saved


def test_a_full_disk_does_not_end_the_run(monkeypatch, capsys):
    def full(*_):
        raise OSError("run.ck could not be saved (No space left on device): make room")

    monkeypatch.setattr(watching, "save_checkpoint", full)
    one = keeper(0)
    one(progress())
    assert re.fullmatch(r"jaxnst-run: notice: run.ck could not .*\n", capsys.readouterr().err)
    with pytest.raises(OSError, match="No space left"):
        one.close(None)


# Going on.


def test_the_same_command_goes_on_and_its_picture_has_the_same_bytes(
    call, folder, monkeypatch, capsys
):
    assert call("run", *GIVEN, "-o", "whole.png", "--quiet")[0] == 0
    monkeypatch.setattr(runner, "CHUNK_SECONDS", 0.0)
    monkeypatch.setattr(watching, "WRITING", 1e9)
    kept, plain = ("-o", "part.png", "--checkpoint", "run.ck"), watching.save_checkpoint
    for last in (4, 9):

        def save(path, checkpoint, last=last):
            plain(path, checkpoint)
            if checkpoint.done == last:
                raise PowerCut

        monkeypatch.setattr(watching, "save_checkpoint", save)
        with pytest.raises(PowerCut):
            call("run", *GIVEN, *kept, "--checkpoint-every", "0")
        assert not (folder / "part.png").exists()
    assert "going on from run.ck, after 4 evaluations" in capsys.readouterr().err
    monkeypatch.setattr(watching, "save_checkpoint", plain)
    # Pictures on the way go on too: of 10 and 12 evaluations, not of where it begins again.
    status, out, err = call("run", *GIVEN, *kept, "--save-every", "2")
    assert (status, out) == (0, "part.png\n") and "after 9 evaluations" in err
    assert "; 12 evaluations, 9 of them earlier" in err
    assert (folder / "part.png").read_bytes() == (folder / "whole.png").read_bytes()
    assert sorted(p.name for p in folder.glob("part-*")) == ["part-0010.png", "part-0012.png"]
    # What is finished is there at once.
    monkeypatch.setattr("jaxnst.transfer.runner.Programs.compile_loop", None)
    assert call("run", *GIVEN, "-o", "again.png", "--checkpoint", "run.ck", "--quiet")[0] == 0
    assert (folder / "again.png").read_bytes() == (folder / "whole.png").read_bytes()
    err = call("run", *GIVEN, *kept)[2]
    assert "the checkpoint is finished, after 12 evaluations: nothing was left to do\n" in err
    assert "going on" not in err and "saved" not in err


def test_a_checkpoint_of_another_run_is_replaced_only_if_that_is_said(call, folder):
    given = ("run", *GIVEN, "-o", "out.png", "--checkpoint", "run.ck")
    assert call(*given, "--quiet")[0] == 0
    before = [(folder / name).read_bytes() for name in ("run.ck", "out.png")]
    ways = "; give the same settings again, or begin anew with another checkpoint, or replace this "
    for more, words in (
        (("--style-weight", "9"), "its style.weight is 5.0, this one 9.0"),
        (
            ("--steps", "10"),
            "its scale 1 is 12 evaluations at 48x32 with styles at 38x48, this one 10 evaluations "
            "at 48x32 with styles at 38x48",
        ),
    ):
        status, out, err = call(*given, *more)
        assert (status, out) == (1, "") and f"{words}{ways}one by --overwrite\n" in err, err
        assert "going on" not in err
    assert [(folder / name).read_bytes() for name in ("run.ck", "out.png")] == before
    status, _, err = call(*given, "--steps", "10", "--overwrite")
    assert status == 0 and "run.ck is of a run with other settings: it is replaced" in err
    assert "going on" not in err and load_checkpoint(folder / "run.ck").done == 10
    assert "the checkpoint is finished, after 10" in call(*given, "--steps", "10")[2]


def test_a_log_goes_on_where_the_run_does(call, folder, monkeypatch):
    monkeypatch.setattr(runner, "CHUNK_SECONDS", 0.0)
    monkeypatch.setattr(watching, "WRITING", 1e9)
    given = ("run", *GIVEN, "-o", "out.png", "--checkpoint", "run.ck", "--log", "run.jsonl")
    plain = watching.save_checkpoint

    def save(path, checkpoint):
        if checkpoint.done == 4:
            plain(path, checkpoint)
        if checkpoint.done == 9:
            raise PowerCut

    def told():
        return [json.loads(line) for line in (folder / "run.jsonl").read_text().splitlines()]

    (folder / "run.jsonl").write_text('{"evaluations": 0}\n')  # of another run
    monkeypatch.setattr(watching, "save_checkpoint", save)
    with pytest.raises(PowerCut):
        call(*given, "--checkpoint-every", "0", "--quiet")
    assert [line["evaluations"] for line in told()] == [*range(10)]
    with (folder / "run.jsonl").open("a") as file:
        file.write('{"evaluations": 10, "sec')
    monkeypatch.setattr(watching, "save_checkpoint", plain)
    assert call(*given, "--quiet")[0] == 0
    assert [line["evaluations"] for line in told()] == [*range(5), *range(4, 13)]
    assert [line["phase"] for line in told()].index("compile", 1) == 5
    seconds = [line["seconds"] for line in told()]
    assert seconds == sorted(seconds) and seconds[5] == seconds[4] > 0


def test_a_run_without_a_finite_loss_leaves_no_picture_and_nothing_to_go_on_with(call, folder):
    before = {p.name for p in folder.iterdir()}
    given = (*PICTURES, "--scales", "32,48", "--steps", "6", "--no-cache", "-o", "out.png")
    given += ("--checkpoint", "run.ck", "--log", "a.jsonl")
    given += ("--animate", "a.gif", "--side-by-side", "b.png")
    given += (*helpers.SHALLOW, "--style-layers", "relu1_1:1e12")  # times 1e30: above float32
    status, out, err = call("run", *given, "--style-weight", "1e30", "--quiet")
    assert (status, out) == (1, "") and err.count("\n") == 1
    assert "error: no step had a finite loss and gradient with" in err
    assert {p.name for p in folder.iterdir()} - before == {"a.jsonl"}


# Refused.


def test_files_that_cannot_be_used_are_one_line(call, folder):
    (folder / "no.ck").write_text("This is no checkpoint.")
    cases = [
        (("--checkpoint", "no.ck"), 1, "no.ck is cut short or no checkpoint"),
        (("--checkpoint", "content.png"), 2, "would overwrite a file given"),
        (("--checkpoint", "none/run.ck"), 1, "does not exist"),
        (("--checkpoint", "-"), 2, "--checkpoint -: nothing but a picture goes to standard output"),
        (("--checkpoint", "./out.png"), 2, "is the file of -o too"),
        (("--checkpoint", "run.ck", "--checkpoint-every", "x"), 2, "not a whole number"),
        (("--checkpoint-every", "5"), 2, "is for a checkpoint"),
    ]
    there = {path.name: path.read_bytes() for path in folder.iterdir()}
    for arguments, status, words in cases:
        found, out, err = call("run", *GIVEN, "-o", "out.png", "--quiet", *arguments)
        assert (found, out) == (status, "") and words in err and err.count("\n") == 1
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == there


def test_it_is_for_single_runs(call):
    for command in (
        ("sweep", "content.png", "style.png", "-o", "sheet.png", "--seed", "0,1"),
        ("batch", "--contents", "content.png", "--styles", "style.png", "--out", "out"),
    ):
        status, _, err = call(*command, "--checkpoint", "run.ck")
        assert status == 2 and "--checkpoint" in err
