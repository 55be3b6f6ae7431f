"""What becomes of a program that crashes, hangs or answers nothing."""

import pytest
from weights_helpers import assert_refused

from jaxnst.weights import _process

HEADS = {"hdf5": b"\x89HDF\r\n\x1a\n", "matlab": b"MATLAB 5.0 MAT-file"}
LIBRARIES = {"hdf5": "the HDF5 library", "matlab": "SciPy"}


@pytest.mark.parametrize("program", HEADS)
@pytest.mark.parametrize(
    ("code", "pattern"),
    [
        ("import os; os.abort()", "cut short or damaged .{} failed"),
        ("raise MemoryError", "cut short or damaged .{} failed"),
        ("print('no answer')", "cut short or damaged .{} failed"),
        ("import time; time.sleep(60)", "not read after 2 s"),
    ],
)
def test_a_crash_or_a_hang_is_an_error(tmp_path, monkeypatch, program, code, pattern):
    folder = tmp_path / "_child"
    folder.mkdir()
    (folder / f"{program}.py").write_text(code)
    (tmp_path / "file").write_bytes(HEADS[program])
    monkeypatch.setattr(_process, "_FOLDER", tmp_path)
    monkeypatch.setattr(_process, "SECONDS", 2)
    assert_refused(tmp_path / "file", pattern.format(LIBRARIES[program]))


def test_the_folder_of_programs_hides_no_module(tmp_path, monkeypatch):
    (tmp_path / "_child").mkdir()
    (tmp_path / "_child/hdf5.py").write_text("import json; json.dumps, open('sprung', 'x')")
    (tmp_path / "json.py").write_text("")
    (tmp_path / "file").write_bytes(HEADS["hdf5"])
    monkeypatch.setattr(_process, "_FOLDER", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert_refused(tmp_path / "file", "failed")
    assert (tmp_path / "sprung").exists()
