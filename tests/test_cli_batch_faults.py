"""``jaxnst batch`` when things go wrong around it: killed, stopped, doubled, no room left."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import helpers
import pytest

from jaxnst.cli.manifest import Row
from jaxnst.cli.results_log import ABANDONED_SECONDS, ResultsLog, inputs, lock_folder
from jaxnst.image import load_image, save_image

FOLDERS = ("--contents", "photos", "--styles", "paintings", "--out", "out")
SMALL = ("--size", "32", "--steps", "3", "--no-cache", *helpers.SHALLOW)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    for name, seed in (("photos/a", 1), ("photos/b", 2), ("photos/c", 3), ("paintings/x", 4)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        save_image(tmp_path / f"{name}.png", helpers.picture(48, 48, seed=seed))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def batched(call):
    return partial(call, "batch")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
def test_killed_stopped_or_doubled_nothing_is_lost(folder):
    save_image(folder / "paintings/y.png", helpers.picture(48, 48, seed=5))
    cache = {"JAX_COMPILATION_CACHE_DIR": str(folder / "cache")}
    cache |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    cache |= {"JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1"}
    script = Path(__file__).with_name("fault_process.py")
    done = subprocess.run(
        [sys.executable, script, folder],
        env=os.environ | cache,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["whole"] == 0 and seen["same"], seen
    assert seen["killed"].count(-signal.SIGKILL) >= 5 and set(seen["killed"]) <= {0, -9}
    assert seen["both"] == [0, 1] and "another process is using" in Path("out.log").read_text()
    assert (seen["doubled"], seen["hidden"]) == (0, [])
    assert (seen["stopped"], seen["cut"], seen["cut_hidden"]) == (130, [True, True, 0], [])


# Two at once.


@pytest.fixture
def other():
    """Another process that works on shard 1 of 2, until it is killed."""
    code = (
        "import sys; from jaxnst.cli.results_log import lock_folder\n"
        "with lock_folder('out', (1, 2)): print('held', flush=True); sys.stdin.read()"
    )
    Path("out").mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def half(seconds):
    """Leave a file that was last written to so long ago."""
    left = Path("out/.jaxnst-half.tmp")
    left.write_bytes(b"half a picture")
    os.utime(left, (time.time() - seconds,) * 2)
    return left


def test_a_second_process_on_the_same_rows_is_refused_in_one_line(batched, other):
    left = half(ABANDONED_SECONDS + 60)
    for shard in ("1/1", "1/2", "2/3"):
        status, out, err = batched(*FOLDERS, *SMALL, "--shard", shard)
        assert (status, out) == (1, "")
        assert re.fullmatch(r"jaxnst batch: error: another process is using out: .+\n", err)
    with lock_folder("out", (2, 2)):
        assert left.exists()  # it may be the other's
    assert not Path("out/results.jsonl").exists()


def test_a_lock_that_a_killed_process_left_is_in_nobody_s_way(other):
    left = half(ABANDONED_SECONDS + 60)
    other.kill()
    other.wait()
    assert Path("out/.jaxnst-1-of-2.lock").exists()
    for shard in ((1, 1), (1, 2)):
        with lock_folder("out", shard):
            assert not left.exists()
    assert not list(Path("out").iterdir())


def test_a_file_that_is_still_written_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("out").mkdir()
    left = half(ABANDONED_SECONDS - 60)
    with lock_folder("out", (1, 1)):
        assert left.exists()


# No room.


def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_pictures_that_do_not_fit_on_the_disk_are_rows_that_fail(batched, monkeypatch):
    monkeypatch.setattr(os, "fsync", full)
    status, out, err = batched(*FOLDERS, *SMALL)
    assert (status, out) == (1, "") and err.count("could not be saved (No space left") == 3
    assert os.listdir("out") == ["results.jsonl"]
    monkeypatch.undo()


def test_a_log_that_cannot_be_written_stops_the_batch_in_one_line(batched, monkeypatch):
    plain, room = ResultsLog._append, iter([True])
    monkeypatch.setattr(
        ResultsLog, "_append", lambda *given: plain(*given) if next(room, False) else full()
    )
    status, out, err = batched(*FOLDERS, *SMALL, "--quiet")
    assert status == 1 and out.split() == ["out/a-x.png"]
    words = r"out.results\.jsonl could not be written \(No space left on device\): free some .+"
    assert re.fullmatch(rf"jaxnst batch: error: {words}\n", err)
    monkeypatch.setattr(ResultsLog, "_append", plain)
    status, out, err = batched(*FOLDERS, *SMALL)
    assert status == 0 and "1 of them already painted" in err and len(out.split()) == 2
    assert all(load_image(f"out/{name}-x.png").size for name in "abc")


def test_half_a_line_is_taken_back_where_the_disk_is_full():
    resource = pytest.importorskip("resource")
    Path("out").mkdir()
    log, row = ResultsLog("out"), Row("photos/a.png", ("paintings/x.png",), "out/a-x.png")
    log.write(row, "these", error="first")
    before = Path(log.path).read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 30, limits[1]))
    try:
        with pytest.raises(OSError, match=r"results\.jsonl could not be written"):
            log.write(row, "these", error="second")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert Path(log.path).read_bytes() == before
    log.write(row, "these", error="third")
    lines = Path(log.path).read_text().splitlines()
    assert [json.loads(line)["error"] for line in lines] == ["first", "third"]


def test_what_failed_later_hides_no_result_that_is_there():
    """A run with other settings failed on it, and replaced nothing."""
    Path("out").mkdir()
    row = Row("photos/a.png", ("paintings/x.png",), "out/a-x.png")
    Path(row.output).write_bytes(b"finished")
    log = ResultsLog("out")
    log.write(row, "these", inputs=inputs(row), error=None)
    log.write(row, "others", error="no room")
    assert ResultsLog("out").has(row, "these")
    assert ResultsLog("out").left([(row, "these")], overwrite=False) == []


def test_a_picture_that_is_gone_costs_its_own_row_alone():
    Path("out").mkdir()
    rows = [Row(f"photos/{name}.png", ("paintings/x.png",), f"out/{name}-x.png") for name in "ab"]
    Path(rows[0].output).write_bytes(b"finished")
    ResultsLog("out").write(rows[0], "these", inputs=inputs(rows[0]), error=None)
    os.remove(rows[0].content)
    assert ResultsLog("out").left([(row, "these") for row in rows], overwrite=False) == rows
