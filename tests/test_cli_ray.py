"""``jaxnst batch --engine ray``: on a cluster of this machine, whose workers are killed."""

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import helpers
import numpy as np
import pytest

from jaxnst.image import load_image, save_image

pytest.importorskip("ray", reason="needs Ray, which is an extra: pip install 'jaxnst[ray]'")
if not Path("/proc/self/cmdline").exists():
    pytest.skip("needs /proc, to find Ray's processes", allow_module_level=True)

ROOT = Path(__file__).parents[1]
NAMES = sorted(f"{content}-x.png" for content in "abcd")
GIVEN = ("--contents", "photos", "--styles", "paintings", "--size", "32", "--optimizer", "adam")
MARK = "JAXNST_TEST_CLUSTER"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ray")
    for i, name in enumerate(("photos/a", "photos/b", "photos/c", "photos/d", "paintings/x")):
        (folder / name).parent.mkdir(exist_ok=True)
        save_image(folder / f"{name}.png", helpers.picture(48, 48, seed=i))
    return folder


@pytest.fixture(scope="module")
def environment(folder):
    """Of every process here, by which it is known, and which shares its programs."""
    cache = {"JAX_COMPILATION_CACHE_DIR": str(folder / "cache"), "JAX_PLATFORMS": "cpu"}
    cache |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    cache |= {"JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1"}
    cache |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    return os.environ | cache | {"PYTHONPATH": str(ROOT), MARK: str(folder)}


@pytest.fixture(scope="module")
def address(folder, environment):
    """A cluster of two cores, as ``ray start`` makes one."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"]
    start += [f"--port={port}", "--node-ip-address=127.0.0.1", "--num-cpus=2"]
    start += ["--include-dashboard=false", "--disable-usage-stats"]
    with open(folder / "ray.log", "wb") as log:
        cluster = subprocess.Popen(start, stdout=log, stderr=log, env=environment, cwd=folder)
    waited_for(lambda: b"--block" in (folder / "ray.log").read_bytes() or cluster.poll(), 60)
    yield f"127.0.0.1:{port}"
    cluster.terminate()
    cluster.wait(30)


def waited_for(found, seconds):
    until = time.monotonic() + seconds
    while not (what := found()):
        assert time.monotonic() < until, f"waited in vain for {seconds} s"
        time.sleep(0.02)
    return what


def processes(folder, word):
    """Numbers of the cluster's processes whose command has a word in it."""
    seen = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            ours = f"{MARK}={folder}".encode() in (path / "environ").read_bytes()
            if ours and word in (path / "cmdline").read_bytes():
                seen.append(int(path.name))
    return seen


def begin(folder, environment, out, *more):
    command = [sys.executable, "-m", "jaxnst", "batch", *GIVEN, "--out", out, *more]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=environment, cwd=folder, **pipes)


def run(*given):
    process = begin(*given)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def records(folder, out):
    return [json.loads(line) for line in (folder / out / "results.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_a_worker_paints_what_this_process_would(folder, environment, address):
    few = ("--steps", "3", "--at-once", "2")
    assert run(folder, environment, "here", *few)[0] == 0
    status, out, err = run(
        folder, environment, "there", *few, "--engine", "ray", "--address", address
    )
    assert status == 0, err
    assert sorted(out.split()) == [os.path.join("there", name) for name in NAMES]
    lines = [line for line in err.splitlines() if not line.startswith("  0%  0/4 pictures")]
    assert lines[0] == "4 pictures, 0 of them already painted" and len(lines) == 2, err
    for name in NAMES:  # with all the cores there are, to the byte
        assert (folder / "here" / name).read_bytes() == (folder / "there" / name).read_bytes()
    told = [
        {r["output"]: (r["losses"], r["lanes"]) for r in records(folder, o)}
        for o in ("here", "there")
    ]
    assert told[0] == told[1]


@pytest.mark.slow
def test_a_worker_that_is_killed_loses_nothing(folder, environment, address):
    given = ("--steps", "60", "--at-once", "1", "--engine", "ray", "--address", address)
    process = begin(folder, environment, "killed", *given, "--workers", "2")
    for count in (1, 2):
        busy = waited_for(lambda: processes(folder, b"ray::Painter.paint"), 60)
        os.kill(busy[0], signal.SIGKILL)
        waited_for(lambda gone=busy[0]: gone not in processes(folder, b"ray::Painter"), 10)
        assert process.poll() is None, count
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0 and "0 failed" in err, err
    assert sorted(out.split()) == [os.path.join("killed", name) for name in NAMES]
    assert sorted(r["output"] for r in records(folder, "killed")) == NAMES
    assert run(folder, environment, "alone", "--steps", "60", "--at-once", "1")[0] == 0
    for name in NAMES:
        painted, alone = load_image(folder / "killed" / name), load_image(folder / "alone" / name)
        np.testing.assert_allclose(painted, alone, atol=0.02)


@pytest.mark.slow
def test_ctrl_c_ends_ray_too_if_it_was_started_here(folder, environment):
    mine = environment | {MARK: f"{folder}-own"}
    process = begin(folder, mine, "cut", "--steps", "5000", "--engine", "ray")
    waited_for(lambda: processes(f"{folder}-own", b"ray::Painter.paint"), 90)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err.splitlines()[-1].startswith("jaxnst batch: stopped; what is finished is saved")
    waited_for(lambda: not processes(f"{folder}-own", b""), 60)
    lines = [line for line in err.splitlines() if not line.startswith("  0%  0/4 pictures")]
    assert len(lines) == 2 and not list((folder / "cut").glob("*.png")), err


# What is refused.


@pytest.mark.parametrize("kind", ["nobody", "silent", "words", "workers"])
def test_what_is_not_there_is_one_line(folder, environment, kind, request):
    code = "import sys; from jaxnst.cli import main, ray_engine; ray_engine.PATIENCE = 8.0; "
    code += "sys.exit(main(sys.argv[1:]))"
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if kind == "silent":
            listener.listen()
        where = f"127.0.0.1:{listener.getsockname()[1]}"
        where = {"words": "the cluster"}.get(kind, where)
        more = () if kind != "workers" else ("--workers", "9")
        where = request.getfixturevalue("address") if kind == "workers" else where
        command = [sys.executable, "-c", code, "batch", *GIVEN, "--out", kind, "--quiet"]
        done = subprocess.run(
            [*command, "--engine", "ray", "--address", where, *more],
            env=environment,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    words = {
        "nobody": f"--address {where}: no connection to a Ray cluster (",
        "silent": f"--address {where}: no connection to a Ray cluster (no answer in 8 s)",
        "words": "--address the cluster: expected auto, HOST:PORT or ray://HOST:PORT",
        "workers": "--workers 9: the Ray cluster has 2 CPUs",
    }[kind]
    assert done.returncode == 2 and done.stdout == "", done.stderr
    assert done.stderr.startswith(f"jaxnst batch: error: {words}") and done.stderr.count("\n") == 1
