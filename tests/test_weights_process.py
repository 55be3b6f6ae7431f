"""Reading in another process: crashes, hangs, and from wherever Python runs."""

import os
import subprocess
import sys

import h5py
import numpy as np
import pytest
from weights_helpers import assert_refused

from jaxnst.weights import _child, read_parameters

HEADS = {"keras_h5": b"\x89HDF\r\n\x1a\n", "matconvnet": b"MATLAB 5.0 MAT-file"}


@pytest.mark.parametrize("reader", HEADS)
@pytest.mark.parametrize(
    ("code", "pattern"),
    [
        ("import os; os.abort()", "cut short or damaged .{} failed"),
        ("raise MemoryError", "cut short or damaged .{} failed"),
        ("print('no answer')", "cut short or damaged .{} failed"),
        ("import time; time.sleep(60)", "not read after 0.5 s"),
    ],
)
def test_a_crash_or_a_hang_is_an_error(tmp_path, monkeypatch, reader, code, pattern):
    (tmp_path / "file").write_bytes(HEADS[reader])
    monkeypatch.setattr(_child, "_PROGRAM", code)
    if "sleep" in code:
        monkeypatch.setattr(_child, "SECONDS", 0.5)
    assert_refused(tmp_path / "file", pattern.format(_child.LIBRARIES[reader]))


@pytest.fixture
def keras_file(tmp_path):
    path = tmp_path / "a.weights.h5"
    with h5py.File(path, "w") as file:
        file["layers/conv2d/vars/0"] = np.ones((3, 3, 3, 4), np.float32)
    return path


def test_the_current_folder_hides_no_module(tmp_path, monkeypatch, keras_file):
    (tmp_path / "json.py").write_text("")
    monkeypatch.chdir(tmp_path)
    assert list(read_parameters(keras_file)[0]) == ["conv2d/kernel"]


@pytest.mark.parametrize("way", ["script", "standard input", "-c"])
def test_a_program_without_a_main_guard_reads_a_file(tmp_path, keras_file, way):
    reading = f"print(*read_parameters({str(keras_file)!r})[0])"
    code = f"from jaxnst.weights import read_parameters; {reading}"
    (tmp_path / "script.py").write_text(code)
    arguments = {"script": ["script.py"], "standard input": ["-"], "-c": ["-c", code]}[way]
    done = subprocess.run(
        [sys.executable, *arguments],
        input=code if way == "standard input" else "",
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == ("conv2d/kernel\n", "")
