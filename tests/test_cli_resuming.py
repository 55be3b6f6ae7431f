"""``--checkpoint`` on the command line: when it is written, gone on from, and refused."""

import json
import os
import re
import signal
import sys
import time

import helpers
import numpy as np
import pytest

from jaxnst.cli import cache, job, messages, parser, watching
from jaxnst.cli.interrupt import Stopped
from jaxnst.cli.run import prepare
from jaxnst.image import read_record, save_image
from jaxnst.transfer import runner
from jaxnst.transfer.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from jaxnst.transfer.result import Progress

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


def test_a_run_that_is_stopped_says_that_it_waits_for_a_long_evaluation(saved, capsys):
    for seconds in (1.0, 60.0):
        one = keeper(60)
        one(progress(1)._replace(seconds=seconds))
        one.close(None)
        words = "waiting for the end of the evaluation to save"
        assert (words in capsys.readouterr().err) == (seconds > 30)
    assert saved == [("run.ck", 1)] * 2


def test_a_run_that_resumes_keeps_one_copy_of_its_state(saved):
    before = progress(3).checkpoint()._replace(state={"point": np.zeros(3)})
    one = watching.Keeper("run.ck", 60, messages.Messages("jaxnst-run", quiet=True), before)
    assert before.state
    one(progress(3))
    assert not before.state


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
    assert "resuming from run.ck, after 4 evaluations" in capsys.readouterr().err
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
    assert "the run of the checkpoint has already finished, after 12 evaluations\n" in err
    assert "resuming" not in err and "saved" not in err


def test_a_checkpoint_of_another_run_is_replaced_only_if_that_is_said(call, folder):
    given = ("run", *GIVEN, "-o", "out.png", "--checkpoint", "run.ck")
    assert call(*given, "--quiet")[0] == 0
    before = [(folder / name).read_bytes() for name in ("run.ck", "out.png")]
    ways = "; repeat the settings of that run, or start over with another checkpoint, or add "
    for more, words in (
        (("--style-weight", "9"), "its style.weight is 5.0, this one 9.0"),
        (
            ("--steps", "10"),
            "its scale 1 is 12 evaluations at 48x32 with styles at 38x48, this one 10 evaluations "
            "at 48x32 with styles at 38x48",
        ),
    ):
        status, out, err = call(*given, *more)
        assert (status, out) == (1, "") and f"{words}{ways}--overwrite to replace it\n" in err, err
        assert "resuming" not in err
    assert [(folder / name).read_bytes() for name in ("run.ck", "out.png")] == before
    status, _, err = call(*given, "--steps", "10", "--overwrite")
    assert status == 0 and "run.ck is from a run with other settings: it is replaced" in err
    assert "resuming" not in err and load_checkpoint(folder / "run.ck").done == 10
    assert "has already finished, after 10" in call(*given, "--steps", "10")[2]


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


# The checkpoint in the cache folder.


TWO_SCALES = ("run", *PICTURES, "--scales", "32,48", "--steps", "12", *helpers.SHALLOW)
RESUMING = "to resume, run the same command with --resume\n"


@pytest.fixture
def kept(folder, monkeypatch):
    """The folder of kept checkpoints."""
    if not sys.platform.startswith("linux"):
        pytest.skip("the folder is set as on Linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    return folder / "cache" / "jaxnst" / "checkpoints"


@pytest.fixture
def end_after(monkeypatch):
    """Let a run end after so many evaluations, with an exception."""

    def end(count, error):
        plain = watching.Watch.__call__

        def report(self, progress):
            plain(self, progress)
            if progress.total_done == count:
                raise error

        patch.setattr(watching.Watch, "__call__", report)

    def leave(status):
        raise SystemExit(status)

    monkeypatch.setattr(runner, "CHUNK_SECONDS", 0.0)
    monkeypatch.setattr(job, "stoppable", lambda work: work())
    monkeypatch.setattr(job, "leave", leave)
    with pytest.MonkeyPatch.context() as patch:
        end.undo = patch.undo
        yield end


@pytest.mark.parametrize(
    ("error", "count"),
    [(Stopped(signal.SIGTERM), 3), (MemoryError(), 10)],
    ids=["stopped", "failed"],
)
def test_what_was_stopped_goes_on_by_resume_to_the_same_bytes(
    call, folder, kept, end_after, error, count
):
    assert call(*TWO_SCALES, "-o", "whole.png")[0] == 0 and not kept.exists()
    end_after(count, error)
    status, out, err = call(*TWO_SCALES, "-o", "part.png")
    if isinstance(error, Stopped):
        assert (status, out) == (143, "part.png\n") and err.endswith(f"\njaxnst run: {RESUMING}")
    else:
        assert (status, out) == (1, "")
        assert err.endswith(f"error: there was not enough memory: use a smaller --size; {RESUMING}")
    (path,) = kept.iterdir()
    assert load_checkpoint(path).done == count and kept.stat().st_mode & 0o77 == 0
    # Nor does a run that is stopped before its next step lose it.
    assert call(*TWO_SCALES, "-o", "part.png", "--resume")[0] == status
    assert load_checkpoint(path).done == count
    end_after.undo()
    checkpoint = load_checkpoint(path)
    seconds = ((50.0, 0.0), *checkpoint.seconds[1:])
    save_checkpoint(path, checkpoint._replace(seconds=seconds))
    status, out, err = call(*TWO_SCALES, "-o", "part.png", "--resume")
    assert (status, out) == (0, "part.png\n") and f"resuming from {path}, after {count} " in err
    assert (folder / "part.png").read_bytes() == (folder / "whole.png").read_bytes()
    compiling = re.search(r"of which (\d+) s compiling; .* earlier", err)
    assert int(compiling[1]) < 40  # by this command, not the 50 seconds of the one before
    assert not [*kept.iterdir()]
    status, out, err = call(*TWO_SCALES, "-o", "part.png", "--resume", "--quiet")
    missing = "--resume: the cache has no checkpoint of a run with these pictures and settings: "
    assert (status, out) == (1, "") and f"error: {missing}repeat" in err and err.count("\n") == 1


def test_more_steps_extend_the_last_scale_of_a_run_that_has_ended(call, folder, kept, monkeypatch):
    """It is the picture of a run whose last scale had as many from the beginning."""
    monkeypatch.setattr(watching, "CHECKPOINT_SECONDS", 0)  # no run is too short
    assert call(*TWO_SCALES, "-o", "a.png")[0] == 0
    (path,) = kept.iterdir()
    more = (*TWO_SCALES, "--resume", "-o", "b.png", "--steps")
    status, _, err = call(*more, "20")
    assert status == 0 and "the last scale has 13 evaluations now, 5 before\n" in err
    assert "after 12 evaluations" in err and "; 20 evaluations, 12 of them earlier" in err
    scales = read_record("b.png").recipe.scales
    assert (scales.evaluations, scales.steps) == ((7, 13), None)
    assert call("run", "--from", "b.png", *PICTURES, "-o", "c.png", "--no-cache")[0] == 0
    assert (folder / "c.png").read_bytes() == (folder / "b.png").read_bytes()
    # The same command again has nothing left to do, and writes the same picture.
    (folder / "b.png").unlink()
    assert "has already finished, after 20 evaluations" in call(*more, "20")[2]
    assert (folder / "c.png").read_bytes() == (folder / "b.png").read_bytes()
    # Nothing else may differ, and there cannot be fewer.
    status, out, err = call(*more, "19")
    words = (
        "is from a run of 20 evaluations, this one has 19: give --steps 20 or more, or leave out"
    )
    assert (status, out) == (1, "") and words in err
    status, out, err = call(*more, "20", "--style-weight", "9")
    assert (status, out) == (1, "") and "no checkpoint of a run with these pictures and s" in err
    assert [*kept.iterdir()] == [path]


def test_a_named_checkpoint_is_gone_on_with_and_none_is_kept(call, folder, kept, monkeypatch):
    monkeypatch.setattr(watching, "CHECKPOINT_SECONDS", 0)
    given = (*TWO_SCALES, "-o", "a.png", "--checkpoint", "run.ck")
    status, out, err = call(*given, "--resume")
    assert (status, out) == (1, "") and "--resume: run.ck does not exist: repeat" in err
    assert call(*given)[0] == call(*given, "--steps", "20", "--resume")[0] == 0
    assert load_checkpoint("run.ck").done == 20 and not kept.exists()
    status, _, err = call(*given, "--steps", "20", "--resume", "--style-weight", "9")
    assert status == 1 and "its style.weight is 5.0, this one 9.0; repeat the settings" in err


def test_the_oldest_are_deleted(call, kept, monkeypatch):
    monkeypatch.setattr(watching, "CHECKPOINT_SECONDS", 0)
    assert call(*TWO_SCALES, "-o", "a.png")[0] == 0
    (path,) = kept.iterdir()
    for name, when in (("middle", 2000), ("oldest", 1000), ("newer", 3000)):
        (kept / name).write_bytes(bytes(500))
        os.utime(kept / name, (when, when))
    monkeypatch.setattr(cache, "MOST_BYTES", path.stat().st_size + 1400)
    os.utime(path, (0, 0))
    assert call(*TWO_SCALES, "-o", "a.png")[0] == 0
    assert {file.name for file in kept.iterdir()} == {path.name, "middle", "newer"}


@pytest.mark.parametrize("problem", ["unwritable", "too large", "memory"])
def test_a_run_ends_well_where_its_checkpoint_cannot_be_kept(call, kept, monkeypatch, problem):
    monkeypatch.setattr(watching, "CHECKPOINT_SECONDS", 0)
    monkeypatch.setattr(watching, "WRITING", 1e9)
    monkeypatch.setattr(runner, "CHUNK_SECONDS", 0.0)
    words = "more than the 10 bytes that the cache folder keeps: give --checkpoint FILE"
    if problem == "unwritable":
        kept.parent.mkdir(parents=True)
        kept.write_text("in the way")
        words = f"{kept}: File exists"
    elif problem == "too large":
        monkeypatch.setattr(watching, "MOST_BYTES", 10)
    else:
        monkeypatch.setattr(watching, "available_on_host", lambda: 10)
        words = "of memory, and 10 bytes are available"
    status, out, err = call(*TWO_SCALES, "-o", "a.png")
    assert (status, out) == (0, "a.png\n") and not kept.is_dir()
    assert err.count("notice: --resume will not work for this run: ") == err.count(words) == 1


def test_the_command_line_and_checkpoints_agree_on_settings(folder, monkeypatch):
    for name in ("mask.png", "other.png"):
        save_image(name, helpers.picture(40, 60, seed=3))
    given = ("--colors", "linear", "--style-mix", "1,2", "--mask", "mask.png", "--seed", "4")
    given += ("--init", "other.png", "--size", "64", "--style-size", "40", "--pooling", "avg")
    given += ("--precision", "bfloat16", "-o", "a.png", *helpers.SHALLOW)
    flags, recipe = parser.parse((*PICTURES, "other.png", *given), "jaxnst run")
    made = prepare(flags, recipe, messages.Messages("jaxnst run", quiet=True))

    def optimize(run, **_):
        assert run.settings == made.settings() and len(run.settings) > 30
        raise PowerCut

    monkeypatch.setattr("jaxnst.transfer.stylize.optimize", optimize)
    pictures = made.pictures.content, made.pictures.styles
    with pytest.raises(PowerCut):
        job.stylize(*pictures, network=made.network, recipe=made.recipe, **made.options)


# Refused.


def test_files_that_cannot_be_used_are_one_line(call, folder):
    (folder / "no.ck").write_text("This is no checkpoint.")
    cases = [
        (("--checkpoint", "no.ck"), 1, "no.ck is cut short or not a checkpoint"),
        (("--checkpoint", "content.png"), 2, "would overwrite an input"),
        (("--checkpoint", "none/run.ck"), 1, "does not exist"),
        (("--checkpoint", "-"), 2, "--checkpoint -: only the picture can go to standard output"),
        (("--checkpoint", "./out.png"), 2, "is also the file of -o"),
        (("--checkpoint", "run.ck", "--checkpoint-every", "x"), 2, "not a whole number"),
        (("--checkpoint-every", "5"), 2, "--checkpoint-every needs --checkpoint FILE"),
        (("--resume",), 2, "--resume needs the cache folder: leave out --no-cache"),
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
