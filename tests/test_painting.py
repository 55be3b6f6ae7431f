"""A painting that is changed, paused and continued, and its file, which is painted again."""

import threading
import time
from pathlib import Path

import helpers
import numpy as np
import pytest

from jaxnst import cli
from jaxnst.image import load_image, read_record, save_image
from jaxnst.networks import load_network
from jaxnst.recipes.schema import Content, Recipe, Scales, Solver, Style
from jaxnst.studio.painting import Painting
from jaxnst.transfer import runner
from jaxnst.transfer.stylize import stylize

RECIPE = Recipe(
    name="shallow",
    content=Content(layers=(("relu2_1", 1.0),)),
    style=Style(layers=(("relu1_1", 1.0),)),
    solver=Solver(kind="adam"),
    scales=Scales(sides=(32, 48), evaluations=(5, 6)),
)
SECONDS = 60
"""Longer than anything here takes."""


class Watcher:
    """A listener that notes what it sees, and waits for things to happen."""

    def __init__(self):
        self.seen, self.called, self.status = [], threading.Condition(), None
        self.hold = lambda painting: None

    def __call__(self, painting):
        progress = painting.progress
        with self.called:
            self.status = painting.status
            self.seen.append((painting.error or painting.status, progress and progress.total_done))
            self.called.notify_all()
        self.hold(painting)

    def until(self, fits):
        with self.called:
            assert self.called.wait_for(lambda: fits() or self.status == "failed", SECONDS)
        assert fits(), self.seen


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Begin a painting of files, and stop it at the end of the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runner, "CHUNK_SECONDS", 0.0)
    save_image("content.png", helpers.picture(32, 48))
    save_image("style.png", helpers.picture(48, 40, seed=1))
    save_image("other.png", helpers.picture(40, 48, seed=2))
    mask = np.zeros((32, 48, 3), np.float32)
    mask[:, :24] = 1
    save_image("left.png", mask)
    begun = []

    def start(hold=lambda painting: None, **options):
        watcher = Watcher()
        watcher.hold = hold
        painting = Painting(
            "content.png", "style.png", listener=watcher, **{"recipe": RECIPE, **options}
        )
        begun.append(painting)
        return painting, watcher

    yield start
    for painting in begun:
        painting.stop(timeout=SECONDS)
        assert painting.status in ("stopped", "failed")


def finished(painting):
    return lambda: painting.status == "finished" and not painting.pending


def test_it_ends_as_a_run_does_and_goes_on_with_what_is_asked_for(start):
    painting, watcher = start()
    watcher.until(finished(painting))
    plain = stylize("content.png", "style.png", recipe=RECIPE)
    assert painting.image().tobytes() == painting.result().image.tobytes() == plain.image.tobytes()
    painting.update(style_weight=50.0)
    assert dict(painting.pending) == {"style_weight": 50.0} or painting.progress.changes
    watcher.until(finished(painting))
    result = painting.result()
    # As many evaluations as the last scale had.
    (change,) = result.changes
    assert (change.evaluation, dict(change.options)) == (11, {"style_weight": 50.0, "steps": 17})
    again = stylize("content.png", "style.png", recipe=RECIPE, changes=result.changes)
    assert result.image.tobytes() == again.image.tobytes() and result.evaluations == 17
    statuses = [status for status, _ in watcher.seen]
    assert statuses[:2] == ["compiling", "painting"] and statuses.count("finished") == 2
    painting.update(tv_weight=3.0)
    watcher.until(lambda: painting.progress.total_done > 17)


def test_it_holds_while_it_is_paused(start):
    held = []

    def pause(painting):
        if not held and painting.status == "painting" and painting.progress.total_done == 2:
            held.append(painting)
            painting.pause()

    painting, watcher = start(pause)
    watcher.until(lambda: painting.status == "paused")
    painting.update(style_weight=50.0)
    time.sleep(0.2)
    assert (painting.status, painting.progress.total_done) == ("paused", 2)
    assert dict(painting.pending) == {"style_weight": 50.0}
    assert painting.result().evaluations == 2
    painting.resume()
    watcher.until(finished(painting))
    changes = painting.result().changes  # a further one, of steps, if the run would end before it
    assert changes[0].evaluation >= 2
    assert [c.options["style_weight"] for c in changes if "style_weight" in c.options] == [50.0]


def test_what_cannot_be_changed_is_refused_at_once_and_harms_nothing(start):
    painting, watcher = start()
    for options, kind in (({"size": 64}, ValueError), ({"style_wait": 1}, TypeError)):
        with pytest.raises(kind):
            painting.update(**options)
    watcher.until(finished(painting))
    assert painting.result().changes == () and painting.error is None
    painting.stop(timeout=SECONDS)
    assert painting.status == "stopped"
    with pytest.raises(ValueError, match="has failed or was stopped: begin another"):
        painting.update(style_weight=2.0)


def test_a_run_that_fails_says_why_in_one_line(start):
    painting, watcher = start(style_weight=1e30, style_layers={"relu1_1": 1e30})
    watcher.until(lambda: painting.status == "failed")
    assert painting.error.startswith("no step had a finite loss") and "\n" not in painting.error
    with pytest.raises(FileNotFoundError):
        Painting("missing.png", "style.png", listener=print)


FILES = ("content.png", "style.png")


def repaint(*flags):
    return cli.main_run(["--from", "live.png", *FILES, *flags, "--no-cache", "--quiet"])


def test_its_file_is_painted_again_byte_for_byte(start, capsys):
    """Live, as a call with changes, and by the command line: numbers, a mask, and another style."""
    painting, watcher = start(masks=["left.png"], style_weight=7.0)
    watcher.until(finished(painting))
    painting.update(masks=["left.png"], styles=["other.png"], colors="linear", content_weight=2.0)
    watcher.until(finished(painting))
    painting.update(style_weight=9.0)
    watcher.until(finished(painting))
    result = painting.result()
    record = painting.record(result)
    save_image("live.png", result.image, record=record)
    assert [source.name for source in record.sources] == [*FILES, "left.png"]
    changes = "--mask", "left.png", "--change", "other.png"
    assert repaint("-o", "again.png", *changes) == 0
    assert Path("again.png").read_bytes() == Path("live.png").read_bytes()
    # What is printed repeats it, too.
    capsys.readouterr()
    assert cli.main(["show", "live.png"]) == 0
    printed = capsys.readouterr().out
    assert "# change    after 11 evaluations: masks left.png (SHA-256 " in printed
    assert "colors linear, content_weight 2, steps 17\n" in printed
    assert "# change    after 17 evaluations: style_weight 9, steps 23\n" in printed
    assert " --mask left.png --change other.png -o NEW.png" in printed
    # Without its pictures it is refused.
    assert repaint("-o", "again.png", "--mask", "left.png") == 2
    assert "its style other.png (SHA-256 " in (err := capsys.readouterr().err)
    assert "give it by --change" in err
    assert repaint("-o", "again.png", *changes, "--change", "content.png") == 2
    assert "--change content.png is another file than those that came" in capsys.readouterr().err
    assert cli.main_run([*FILES, "-o", "x.png", "--change", "left.png"]) == 2
    assert "--change needs --from PICTURE" in capsys.readouterr().err


def test_at_another_size_the_last_settings_hold_from_the_beginning(start, capsys):
    scales = Scales(least=32, factor=1.5, evaluations=(5, 6))
    painting, watcher = start(recipe=Recipe(**{**vars(RECIPE), "scales": scales}))
    watcher.until(finished(painting))
    painting.update(masks=["left.png"], style_weight=50.0)
    watcher.until(finished(painting))
    painting.update(style_weight=40.0, tv_weight=3.0)
    watcher.until(finished(painting))
    result = painting.result()
    save_image("live.png", result.image, record=painting.record(result))
    flags = "-o", "large.png", "--size", "64", "--content-weight", "2", "--change", "left.png"
    assert cli.main_run(["--from", "live.png", *FILES, *flags, "--no-cache"]) == 0
    assert "it was changed 2 times while it was painted: at another size" in capsys.readouterr().err
    (change,) = read_record("large.png").changes
    assert change.evaluation == 0
    options = dict(change.options)
    assert options.pop("masks")[0].name == "left.png"
    assert options == {"style_weight": 40.0, "tv_weight": 3.0, "steps": 23}
    whole = stylize(
        *FILES,
        recipe=read_record("large.png").recipe,
        size=64,
        masks=[load_image("left.png")],
        **options,
    )
    np.testing.assert_allclose(load_image("large.png"), whole.image, atol=1 / 255)
    assert read_record("large.png").recipe.content.weight == 2


def test_a_picture_of_the_middle_is_painted_again(start):
    """Also one between two scales."""
    kept = {}

    def keep(painting):
        done = painting.progress.total_done
        if done in (4, 5, 8) and painting.status != "stopped":
            result = painting.result()
            kept[done, painting.status] = result, painting.record(result)

    painting, watcher = start(keep)
    watcher.until(finished(painting))
    assert {done for done, _ in kept} == {4, 5, 8} and (5, "compiling") in kept
    for (done, _), (result, record) in kept.items():
        assert result.evaluations == done
        save_image("live.png", result.image, record=record)
        assert repaint("-o", "again.png") == 0
        assert Path("again.png").read_bytes() == Path("live.png").read_bytes()
    assert painting.record(painting.result()).changes == ()


def test_several_threads_may_change_it(start):
    painting, watcher = start(network=load_network("vgg16-lite"))
    threads = [
        threading.Thread(target=painting.update, kwargs={"style_weight": float(i)})
        for i in range(1, 9)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    watcher.until(finished(painting))
    result = painting.result()
    again = stylize(*FILES, recipe=RECIPE, changes=result.changes)
    assert 1 <= len(result.changes) <= 8 and result.image.tobytes() == again.image.tobytes()
