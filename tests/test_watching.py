"""Who listens to a run, and what is written beside its picture; the transfer is a stand-in."""

import dataclasses
import io
import json
import os
import signal

import helpers
import numpy as np
import pytest
from PIL import Image

from jaxnst import cli
from jaxnst.cli import job, parser, watching
from jaxnst.cli.interrupt import Stopped
from jaxnst.cli.messages import Messages
from jaxnst.cli.watching import Animate, Figure, Interval, Log, Over, Plot, Preview, Watch
from jaxnst.image import load_image, read_record, save_image
from jaxnst.recipes import get_recipe
from jaxnst.recipes.schema import Scales
from jaxnst.report.contact_sheet import GAP
from jaxnst.transfer.checkpoint import Checkpoint
from jaxnst.transfer.result import Progress, StylizeResult

SIZE = (48, 64)


def grey(value, size=SIZE):
    return np.full((*size, 3), value, np.float32)


def reports(total=16):
    """What a run of two scales tells: of 10 evaluations and of the others."""
    for done in (0, 1, 4, 10, 11, total):
        scale, used = (0, done) if done <= 10 else (1, done - 10)
        yield Progress(
            phase="optimize" if done else "compile",
            scale=scale,
            scales=2,
            size=((24, 32), SIZE)[scale],
            evaluations=used,
            scale_evaluations=(10, total - 10)[scale],
            total_done=done,
            total=total,
            losses={"total": 20.0 - done, "style": 19.0 - done} if done else {},
            image=lambda done=done: grey(done / 20),
            seconds=float(done),
        )


def result(total=16):
    losses = {name: np.linspace(20, 4, total, dtype=np.float32) for name in ("total", "style")}
    return StylizeResult(grey(0.9), losses, total, 0, 1.0, 2.0)


def tell(listener, news=None, ended=None):
    for progress in reports() if news is None else news:
        listener(progress)
    listener.close(ended)


# Listening.


class Ear(watching.Listener):
    """Remembers what it heard, and fails when it is told to."""

    def __init__(self, fails_at=None):
        self.heard, self.fails_at = [], fails_at

    def __call__(self, progress):
        self.heard.append(progress.total_done)
        if progress.total_done == self.fails_at:
            raise OSError(28, "No space left on device", "run.jsonl")

    def close(self, result):
        self.heard.append(result)


def test_one_that_fails_harms_nobody_and_hears_no_more(capsys):
    deaf, sound = Ear(fails_at=4), Ear()
    watch, ended = Watch([deaf, sound]), result()
    for progress in reports():
        watch(progress)
    assert watch.close(ended, "jaxnst-run")
    assert deaf.heard == [0, 1, 4] and sound.heard == [0, 1, 4, 10, 11, 16, ended]
    assert watch.last.total_done == 16
    assert capsys.readouterr().err == "jaxnst-run: error: run.jsonl: No space left on device\n"


def test_a_run_that_nobody_listens_to_ends():
    watch = Watch([ear := Ear()])
    first, second, *_ = reports()
    watch(first)
    watch.end()
    with pytest.raises(Over):
        watch(second)
    assert ear.heard == [0] and watch.last is first and not watch.close(None, "jaxnst-run")


# Intervals.


def asked(**flags):
    return dataclasses.replace(parser.parse(["a", "b"], "jaxnst-run")[0], **flags)


@pytest.mark.parametrize(
    ("flags", "total", "frames", "reports"),
    [
        ({}, 160, None, None),
        ({"save_every": 50}, 160, None, 50),
        ({"animate": "a.gif"}, 160, 2, 2),
        ({"animate": "a.gif"}, 30, 1, 1),
        ({"animate": "a.gif", "animate_every": 20, "save_every": 50}, 160, 20, 10),
    ],
)
def test_a_run_reports_so_often_that_all_intervals_are_met(flags, total, frames, reports):
    assert watching.frame_interval(asked(**flags), total) == frames
    assert watching.report_interval(asked(**flags), total) == reports


def test_an_interval_has_passed_at_the_first_news_after_it():
    interval = Interval(5)
    assert [interval.passed(count) for count in (0, 4, 5, 6, 9, 17, 19, 20)] == [
        *(False, False, True, False, False, True, False, True)
    ]


# Log.


def test_every_report_is_a_line_at_once(tmp_path):
    path = tmp_path / "run.jsonl"
    path.write_text("of a run before\n")
    log = Log(str(path))
    for count, progress in enumerate(reports(), 1):
        log(progress._replace(losses=progress.losses | {"tv": np.nan}))
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        assert len(lines) == count
    assert [line["evaluations"] for line in lines] == [0, 1, 4, 10, 11, 16]
    assert lines[0] == {
        **{"phase": "compile", "evaluations": 0, "total_evaluations": 16, "scale": 1, "scales": 2},
        **{"width": 32, "height": 24, "losses": {"tv": None}, "seconds": 0.0},
    }
    assert lines[-1]["losses"] == {"total": 4.0, "style": 3.0, "tv": None}


# Plot.


@pytest.fixture
def drawn(monkeypatch):
    """What was to be drawn."""
    asked = []
    monkeypatch.setattr(watching, "save_losses", lambda *a, **more: asked.append((*a, more)))
    return asked


def test_a_plot_is_of_every_step_or_of_what_was_heard(drawn):
    ended = result()
    searched = ended._replace(losses={"total": ended.losses["total"][:9]})
    for end, counts, first in (
        (ended, range(1, 17), ended.losses["total"][0]),
        (searched, [1, 4, 10, 11, 16], 19.0),
        (None, [1, 4, 10, 11, 16], 19.0),
    ):
        tell(Plot("a.png"), ended=end)
        path, losses, more = drawn.pop()
        assert path == "a.png" and list(more["evaluations"]) == list(counts)
        assert losses["total"][0] == first
        assert more["scales"] == [(0, (24, 32)), (10, SIZE)]
    tell(Plot("a.png"), news=list(reports())[:1])
    assert not drawn


# Animation.


def greys(path):
    with Image.open(path) as picture:
        found = []
        for i in range(picture.n_frames):
            picture.seek(i)
            found.append(np.asarray(picture.convert("RGB"))[0, 0, 0] / 255)
        return found


@pytest.mark.parametrize(
    ("ended", "expected"),
    [(result(), [0.05, 0.2, 0.5, 0.55, 0.8, 0.9]), (None, [0.05, 0.2, 0.5, 0.55, 0.8])],
)
def test_an_animation_begins_with_the_start_and_ends_with_the_result(tmp_path, ended, expected):
    path = str(tmp_path / "a.gif")
    tell(Animate(path, 1), ended=ended)
    # Frames that are alike become one that is longer.
    np.testing.assert_allclose(greys(path), expected, atol=0.01)
    tell(Animate(path, 10), ended=result())
    np.testing.assert_allclose(greys(path), [0.05, 0.5, 0.9], atol=0.01)


def test_frames_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(watching, "MOST_FRAMES", 8)
    animate = Animate(str(tmp_path / "a.gif"), 1)
    first = next(progress for progress in reports() if progress.phase == "optimize")
    for count in range(1, 41):
        animate(first._replace(total_done=count, image=lambda count=count: grey(count / 100)))
        assert len(animate.frames) <= 8
    animate.close(None)
    found = greys(tmp_path / "a.gif")
    assert found[0] == pytest.approx(0.01, abs=0.003) and found[-1] == pytest.approx(0.4, abs=0.003)
    steps = np.diff(found[:-1])
    assert len(found) >= 5 and steps.min() > 0 and steps.max() < 0.1


# Side by side.


@pytest.mark.parametrize("styles", [1, 2])
@pytest.mark.parametrize(("ended", "value"), [(result(), 0.9), (None, 0.8)])
def test_content_styles_and_result_stand_side_by_side(tmp_path, styles, ended, value):
    path = str(tmp_path / "a.png")
    given = [grey(0.2 + 0.2 * i, (96, 96)) for i in range(styles)]
    tell(Figure(path, grey(0.1, (24, 32)), given), ended=ended)
    figure = load_image(path)
    assert figure.shape[1] == 64 + styles * (48 + GAP) + GAP + 64
    label = figure.shape[0] - 48
    assert 0 < label < 40
    row = figure[label + 24, :, 0]
    np.testing.assert_allclose([row[5], row[64 + GAP + 5], row[-5]], [0.1, 0.2, value], atol=0.01)
    assert (figure[:label] < 0.5).any()  # words


def test_a_cut_out_is_shown_on_white(tmp_path):
    cut = np.zeros((*SIZE, 4), np.float32)
    ended = result()._replace(image=cut)
    tell(Figure(str(tmp_path / "a.png"), cut, [grey(0.2)]), ended=ended)
    figure = load_image(tmp_path / "a.png")
    assert figure[-5, 5].min() == figure[-5, -5].min() == 1
    tell(Animate(str(tmp_path / "a.gif"), 100), ended=ended)
    assert greys(tmp_path / "a.gif")[-1] == 1


def test_a_figure_is_no_wider_than_formats_hold(tmp_path, monkeypatch):
    monkeypatch.setattr(watching, "LONGEST", 100)
    tell(Figure(str(tmp_path / "a.png"), grey(0.1), [grey(0.2)]), ended=result())
    assert 80 < load_image(tmp_path / "a.png").shape[1] <= 100 + 2 * GAP


def test_a_preview_is_the_picture_so_far_and_at_the_end_the_result(tmp_path):
    path = tmp_path / "a.png"
    shown, preview = [], Preview(str(path))
    for progress in reports():
        preview.next = 0.0
        preview(progress)
        if path.exists():
            shown.append((progress.total_done, load_image(path)[0, 0, 0]))
            expected = progress.image()[0, 0, 0]
            assert progress.phase == "compile" or abs(shown[-1][1] - expected) < 1 / 255
    assert len({value for _, value in shown}) > 1
    preview.close(result())
    np.testing.assert_allclose(load_image(path), result().image, atol=1 / 255)


def test_a_preview_takes_a_tenth_of_the_time_at_most(tmp_path, monkeypatch):
    clock = iter([5.0, 6.0, 15.9, 16.0, 16.5, 30.0])
    monkeypatch.setattr(watching.time, "monotonic", lambda: next(clock))
    saved = []
    monkeypatch.setattr(watching, "save_image", lambda path, image: saved.append(path))
    preview, (*_, last) = Preview("a.png"), reports()
    for _ in range(3):
        preview(last)  # from 5 to 6; not at 15.9; from 16 to 16.5
    assert saved == ["a.png", "a.png"] and preview.next == 21.5


def test_a_run_stopped_before_its_first_step_leaves_nothing(tmp_path):
    first = list(reports())[:1]
    tell(Preview(str(tmp_path / "a.png")), news=first)
    tell(Animate(str(tmp_path / "a.gif"), 1), news=first)
    tell(Figure(str(tmp_path / "a.png"), grey(0.1), [grey(0.2)]), news=first)
    assert not list(tmp_path.iterdir())


# The command.


@pytest.fixture
def folder(tmp_path, monkeypatch):
    save_image(tmp_path / "content.png", helpers.picture(60, 80))
    save_image(tmp_path / "style.png", helpers.picture(90, 70, seed=1))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(folder, monkeypatch, capsysbinary):
    """Call ``jaxnst-run`` with a stand-in for the transfer: status, stdout, stderr."""

    def stylize(content, styles, **more):
        for progress in reports():
            more["callback"](progress)
        return result()

    monkeypatch.setattr(job, "stylize", stylize)
    scales = Scales(least=32, evaluations=(10, 6))
    two = dataclasses.replace(get_recipe("default"), name="two", scales=scales)
    monkeypatch.setitem(parser.RECIPES, "two", two)

    def call(*arguments):
        given = "content.png", "style.png", "--size", "64", "--no-cache", "--recipe", "two"
        try:
            status = cli.main_run([*given, *arguments])
        except SystemExit as stop:
            status = stop.code
        out, err = capsysbinary.readouterr()
        return status, out, err.decode()

    return call


ALL = ("--log", "a.jsonl", "--plot", "a.png", "--animate", "a.gif", "--side-by-side", "b.png")
ALL += ("--preview", "c.png")


def test_all_that_was_asked_for_is_written_and_the_picture_named(run, folder):
    pytest.importorskip("matplotlib", reason="needs Matplotlib")
    assert run("-o", "out.png", "--quiet", *ALL) == (0, b"out.png\n", "")
    assert len((folder / "a.jsonl").read_text().splitlines()) == 6
    assert load_image("a.png").shape == (540, 960, 3)
    assert greys("a.gif")[-1] == pytest.approx(0.9, abs=0.01)
    assert load_image("b.png").shape[1] == 64 + GAP + 37 + GAP + 64
    assert load_image("out.png").shape == (*SIZE, 3)


def test_programs_read_a_line_of_json_for_every_report_and_for_the_result(run):
    status, out, err = run("-o", "out.png", "--quiet", "--json", "--log", "a.jsonl")
    *reported, last = map(json.loads, out.splitlines())
    with open("a.jsonl") as log:
        assert reported == [{"event": "progress", **json.loads(line)} for line in log]
    assert last.pop("seconds") >= 0 and not err
    losses = {"total": 4.0, "style": 4.0}
    expected = {"event": "saved", "output": "out.png", "losses": losses, "evaluations": 16}
    assert (status, last) == (0, expected | {"stopped": False})
    status, out, err = run("-o", "-", "--json")
    assert (status, out) == (2, b"") and "--json and -o - both write to standard output" in err


def test_a_loss_that_is_not_finite_is_null_in_json(capsys):
    Messages("jaxnst", quiet=True, json=True).event("saved", losses={"total": float("inf")}, n=1)
    assert json.loads(capsys.readouterr().out) == {
        "event": "saved",
        "losses": {"total": None},
        "n": 1,
    }


def test_what_cannot_be_written_does_not_lose_the_picture(run, monkeypatch):
    def full(path, *_, **__):
        raise OSError(28, "No space left on device", path)

    monkeypatch.setattr(watching, "save_animation", full)
    status, out, err = run("-o", "out.png", "--quiet", "--animate", "a.gif", "--log", "a.jsonl")
    assert (status, out) == (1, b"out.png\n")
    assert err == "jaxnst-run: error: a.gif: No space left on device\n"
    assert load_image("out.png").shape == (*SIZE, 3) and os.path.getsize("a.jsonl")


@pytest.mark.parametrize("again", [False, True])
def test_a_run_that_is_stopped_writes_what_there_is(run, folder, monkeypatch, again):
    pytest.importorskip("matplotlib", reason="needs Matplotlib")

    def stopped(work):
        work()
        raise Stopped(signal.SIGINT)

    def half(callback):
        for progress in list(reports())[:4]:
            callback(progress)
        return result()

    def interrupted(*_):
        raise KeyboardInterrupt

    def leave(status):
        raise SystemExit(status)

    monkeypatch.setattr(job, "stylize", lambda *_, callback, **__: half(callback))
    monkeypatch.setattr(job, "stoppable", stopped)
    monkeypatch.setattr(job, "leave", leave)
    if again:
        monkeypatch.setattr(watching.Animate, "close", interrupted)
    status, out, err = run("-o", "out.png", *ALL)
    assert (status, out) == (130, b"out.png\n") and "stopped after 10 of 16" in err
    assert load_image("out.png")[0, 0, 0] == pytest.approx(0.5, abs=0.01)
    assert len((folder / "a.jsonl").read_text().splitlines()) == 4
    assert (folder / "a.png").exists()
    if again:
        assert err.endswith("the picture so far is saved, but not the other files\n")
    else:
        np.testing.assert_allclose(greys("a.gif"), [0.05, 0.2, 0.5], atol=0.01)
        assert load_image("b.png")[-5, -5, 0] == pytest.approx(0.5, abs=0.01)


def test_a_picture_so_far_does_not_replace_a_finished_one(run, folder, monkeypatch):
    words = "jaxnst-run: notice: out.png already exists and will be replaced\n"
    assert words not in run("-o", "out.png")[2]
    before = (folder / "out.png").read_bytes()

    def stopped(work):
        work()
        raise Stopped(signal.SIGINT)

    def stylize(*_, callback, **__):
        for progress in list(reports())[:4]:
            callback(progress)
        return result()

    def leave(status):
        raise SystemExit(status)

    plain = job.stylize
    monkeypatch.setattr(job, "stylize", stylize)
    monkeypatch.setattr(job, "stoppable", stopped)
    monkeypatch.setattr(job, "leave", leave)
    status, out, err = run("-o", "out.png")
    assert (status, out) == (130, b"out-0010.png\n") and words in err
    assert "saving the picture so far as out-0010.png, since out.png already existed\n" in err
    assert (folder / "out.png").read_bytes() == before
    assert load_image("out-0010.png")[0, 0, 0] == pytest.approx(0.5, abs=0.01)
    assert read_record("out-0010.png").arguments["stopped-after"] == 10
    assert run("-o", "out.png")[1] == b"out-0010-0010.png\n"
    # Nor where the run resumes from a checkpoint.
    (folder / "run.ck").touch()
    checkpoint = Checkpoint(0, (5,), (), 0, None, {}, {}, {})
    monkeypatch.setattr(job, "load_checkpoint", lambda _: checkpoint)
    with monkeypatch.context() as context:
        context.setattr(watching, "Keeper", lambda *_, **__: watching.Listener())
        status, out, err = run("-o", "out.png", "--checkpoint", "run.ck")
    assert (status, words in err) == (130, True) and out.startswith(b"out-0010-")
    assert (folder / "out.png").read_bytes() == before
    # A finished one replaces it.
    (folder / "out.png").write_bytes(b"another")
    monkeypatch.setattr(job, "stylize", plain)
    monkeypatch.setattr(job, "stoppable", lambda work: work())
    assert run("-o", "out.png")[:2] == (0, b"out.png\n")
    assert (folder / "out.png").read_bytes() == before


def test_a_run_that_fails_writes_what_there_is(run, folder, monkeypatch):
    def stylize(*_, callback, **__):
        for progress in list(reports())[:4]:
            callback(progress)
        raise ValueError("odd")

    monkeypatch.setattr(job, "stylize", stylize)
    outcome = run("-o", "out.png", "--quiet", "--animate", "a.gif")
    assert outcome == (1, b"", "jaxnst-run: error: odd\n")
    np.testing.assert_allclose(greys("a.gif"), [0.05, 0.2, 0.5], atol=0.01)


def refuse(path, *_, **__):
    raise OSError(28, "No space left on device", str(path))


def test_a_run_that_fails_tells_of_what_could_not_be_written_too(run, monkeypatch):
    def stylize(*_, callback, **__):
        for progress in list(reports())[:4]:
            callback(progress)
        raise ValueError("odd")

    monkeypatch.setattr(job, "stylize", stylize)
    monkeypatch.setattr(watching, "save_animation", refuse)
    status, out, err = run("-o", "out.png", "--quiet", "--animate", "a.gif")
    assert (status, out) == (1, b"")
    assert err.splitlines() == [
        *("jaxnst-run: error: a.gif: No space left on device", "jaxnst-run: error: odd")
    ]


@pytest.mark.parametrize("stopped", [False, True])
def test_a_picture_that_cannot_be_saved_keeps_nothing_else_back(run, folder, monkeypatch, stopped):
    def stoppable(work):
        work()
        if stopped:
            raise Stopped(signal.SIGINT)
        return result()

    def leave(status):
        raise SystemExit(status)

    closed = []
    monkeypatch.setattr(job, "stoppable", stoppable)
    monkeypatch.setattr(job, "leave", leave)
    monkeypatch.setattr(job, "hand_over", lambda *_, **__: refuse("out.png"))
    monkeypatch.setattr(watching, "save_animation", refuse)
    monkeypatch.setattr(watching.Keeper, "close", lambda _, ended: closed.append(ended))
    given = ("--quiet", "--animate", "a.gif", "--checkpoint", "run.ck")
    status, out, err = run("-o", "out.png", *given)
    assert (status, out) == (1, b"") and len(closed) == 1
    assert err.splitlines() == [
        f"jaxnst-run: error: {name}: No space left on device" for name in ("a.gif", "out.png")
    ]


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("--log", "no/a.jsonl"), 1, "folder"),
        (("--log", "."), 1, ". is a folder"),
        (("--plot", "a.jpg"), 1, "expected one of .png, .svg, .pdf"),
        (("--animate", "a.avi"), 1, "expected one of .gif, .webp, .mp4"),
        (("--side-by-side", "a.gif"), 1, ".gif"),
        (("--preview", "a.txt"), 1, ".txt"),
        (("--preview", "out.png"), 2, "--preview out.png is also the file of -o"),
        (("--plot", "out.png"), 2, "--plot out.png is also the file of -o"),
        (("--side-by-side", "./out.png"), 2, "--side-by-side ./out.png is also the file of -o"),
        (("--log", "a.png", "--plot", "a.png"), 2, "--plot a.png is also the file of --log"),
        (("--log", "style.png"), 2, "--log style.png would overwrite an input"),
        (("--recipe", "mine.toml", "--log", "mine.toml"), 2, "would overwrite an input"),
        (("--animate-every", "5"), 2, "--animate FILE"),
        (("--animate", "a.gif", "--animate-every", "0"), 2, "--animate-every"),
        (("--format", "jpg"), 2, "--format is for -o -"),
    ],
)
def test_wrong_outputs_are_refused_at_the_door(run, folder, arguments, status, words):
    (folder / "mine.toml").write_text('base = "default"\n')
    there = {path: path.read_bytes() for path in folder.iterdir()}
    found, out, err = run("-o", "out.png", *arguments)
    assert (found, out) == (status, b"") and words in err and err.count("\n") == 1
    assert {path: path.read_bytes() for path in folder.iterdir()} == there


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("out-0050.png", "-o", "out.png"), "out-0050.png, an input"),
        (("./out-12345.png", "-o", "out.png"), "./out-12345.png, an input"),
        (("link.png", "-o", "out.png"), "link.png, an input"),
        (("-o", "out.png", "--side-by-side", "./out-0100.png"), "the file of --side-by-side"),
        (("-o", "out.png", "--checkpoint", "out-0002.png"), "the file of --checkpoint"),
    ],
)
def test_pictures_on_the_way_overwrite_nothing_else(run, folder, more, words):
    for name in ("out-0050.png", "out-12345.png"):
        save_image(folder / name, helpers.picture(40, 60))
    (folder / "link.png").symlink_to("out-0050.png")
    there = {path: path.read_bytes() for path in folder.iterdir()}
    status, out, err = run(*more, "--save-every", "50")
    assert (status, out) == (2, b"") and words in err and err.count("\n") == 1
    assert "out-0050.png and so on: use another name" in err
    assert {path: path.read_bytes() for path in folder.iterdir()} == there
    near = ("-o", "out.png", "--side-by-side", "out-050.png", "--log", "out-0050.txt")
    assert run(*near, "--save-every", "5", "--quiet")[0] == 0
    assert run("out-0050.png", "-o", "out.png", "--quiet")[0] == 0


def test_a_missing_library_is_said_at_the_door(run, monkeypatch):
    monkeypatch.setattr("jaxnst.report.animation.find_spec", lambda _: None)
    monkeypatch.setattr("jaxnst.report.plot.find_spec", lambda _: None)
    for flag, path in (("--plot", "a.png"), ("--animate", "a.mp4")):
        status, out, err = run("-o", "out.png", flag, path)
        assert (status, out) == (2, b"") and err.startswith(f"jaxnst-run: error: {flag}: {path} ")
        assert "pip install 'jaxnst[watch]'" in err


# Standard output.


@pytest.mark.parametrize(("flags", "kind"), [((), "PNG"), (("--format", "jpg"), "JPEG")])
def test_a_picture_on_standard_output_and_nothing_else(run, folder, flags, kind):
    there = sorted(os.listdir())
    status, out, err = run("-o", "-", *flags)
    assert status == 0 and "16 evaluations" in err
    with Image.open(io.BytesIO(out)) as picture:
        assert (picture.format, picture.size) == (kind, (64, 48))
        assert picture.getpixel((0, 0)) == (230, 230, 230)
    assert sorted(os.listdir()) == there


def test_what_does_not_go_to_standard_output(run, monkeypatch):
    status, out, err = run("-o", "-", "--save-every", "5")
    assert (status, out) == (2, b"") and "--save-every" in err
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    status, out, err = run("-o", "-")
    assert (status, out) == (2, b"") and "does not write a picture to a terminal" in err


def test_a_reader_that_goes_away_does_not_lose_the_picture(run, tmp_path, monkeypatch):
    refuge = tmp_path / "refuge"
    refuge.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(refuge))

    class Broken(io.BytesIO):
        def write(self, _):
            raise BrokenPipeError(32, "Broken pipe")

    class Out(io.TextIOWrapper):
        def isatty(self):
            return False

    monkeypatch.setattr("sys.stdout", Out(Broken()))
    status, _, err = run("-o", "-", "--quiet")
    assert status == 1 and "standard output cannot be written (Broken pipe)" in err
    (kept,) = refuge.glob("*/picture.png")
    assert str(kept) in err and load_image(kept).shape == (*SIZE, 3)
