import errno
import os
import re
import stat
import threading

import pytest

from jaxnst import _files

posix = pytest.mark.skipif(os.name == "nt", reason="needs POSIX files")


@pytest.fixture
def old(tmp_path):
    """A file that is there already; nothing that fails may change it or leave another."""
    path = tmp_path / "out.bin"
    path.write_bytes(b"old")
    return path


def raising(error):
    def call(*args, **keywords):
        raise error

    return call


def test_name_of_keeps_plain_names_and_escapes_what_breaks_a_line():
    assert _files.name_of("grüße 1.png") == "grüße 1.png"
    assert _files.name_of("a\nb.png") == r"'a\nb.png'"
    assert _files.name_of("\udce9.png").isascii()  # not UTF-8 on disk
    assert _files.name_of("") == "''"


def test_reason_is_one_line_and_never_empty():
    assert _files.reason(ValueError("a\n  b")) == "a b"
    assert _files.reason(OSError(errno.ENOSPC, "No space")) == "No space"
    assert _files.reason(KeyError()) == "KeyError"


def test_check_source_accepts_a_file(old):
    assert _files.check_source(old, 3) is None


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda p: None, FileNotFoundError, "does not exist"),
        (lambda p: p.parent.rmdir() or p.parent.touch(), FileNotFoundError, "does not exist"),
        (lambda p: p.mkdir(), IsADirectoryError, "is a folder"),
        (lambda p: p.write_bytes(b""), ValueError, "is empty"),
        (lambda p: p.write_bytes(b"four"), ValueError, "4 bytes, more than the 3"),
        pytest.param(lambda p: os.mkfifo(p), ValueError, "pipe", marks=posix),
        pytest.param(lambda p: p.symlink_to(p), ValueError, "cannot be opened", marks=posix),
    ],
)
def test_check_source_refuses(tmp_path, make, error, says):
    path = tmp_path / "folder" / "x"
    path.parent.mkdir()
    make(path)
    with pytest.raises(error, match=re.escape(str(path)) + ".*" + says):
        _files.check_source(path, 3)


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b"])
def test_check_source_refuses_impossible_names(name):
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        _files.check_source(name, 3)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("call", [_files.check_writable, lambda p: _files.replace_file(p, b"new")])
@pytest.mark.parametrize(
    ("path", "error", "says"),
    [
        ("missing/x.bin", FileNotFoundError, r"missing.*does not exist: create it"),
        ("out.bin/x.bin", FileNotFoundError, r"does not exist"),
        ("folder", IsADirectoryError, r"is a folder"),
        pytest.param("pipe", ValueError, r"pipe or a device", marks=posix),
        ("é" * 128, OSError, r"é cannot be written \(.+\): choose another name$"),
        (f"{'f' * 256}/x.bin", OSError, r"cannot be written \(.+\): choose another name$"),
        ("a\0b", OSError, r"a\\x00b' cannot be written \(.*embedded null .+\): choose"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_bad_destinations(old, call, path, error, says):
    (old.parent / "folder").mkdir()
    if os.name != "nt":
        os.mkfifo(old.parent / "pipe")
    before = sorted(os.listdir(old.parent))
    with pytest.raises(error, match=says):
        call(old.parent / path)
    assert sorted(os.listdir(old.parent)) == before


@posix
@pytest.mark.parametrize("call", [_files.check_writable, lambda p: _files.replace_file(p, b"new")])
@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_unwritable_folder_and_file(old, call):
    old.chmod(0o444)
    with pytest.raises(PermissionError, match="write-protected"):
        call(old)
    old.parent.chmod(0o555)
    try:
        with pytest.raises(PermissionError, match=r"is not writable|could not be saved"):
            call(old.parent / "new.bin")
    finally:
        old.parent.chmod(0o755)


def test_write_protected_file_is_refused(old, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(PermissionError, match="write-protected"):
        _files.replace_file(old, b"new")
    assert old.read_bytes() == b"old"


def test_check_writable_names_an_unwritable_folder(old, monkeypatch):
    denied = raising(PermissionError(errno.EACCES, "Permission denied"))
    monkeypatch.setattr("tempfile.TemporaryFile", denied)
    with pytest.raises(PermissionError) as caught:
        _files.check_writable(old)
    assert f"folder {old.parent} is not writable (Permission denied)" in str(caught.value)


def test_check_writable_leaves_nothing_behind(old):
    _files.check_writable(old)
    _files.check_writable(old.parent / "new.bin")
    assert os.listdir(old.parent) == ["out.bin"]
    assert old.read_bytes() == b"old"


def test_replace_file_writes_and_overwrites(old):
    _files.replace_file(old, b"new")
    _files.replace_file(str(old.parent / "two.bin"), b"2")
    assert old.read_bytes() == b"new"
    assert sorted(os.listdir(old.parent)) == ["out.bin", "two.bin"]


def test_replace_file_takes_the_longest_name_there_is(tmp_path):
    path = tmp_path / ("x" * 251 + ".bin")
    _files.replace_file(path, b"new")
    assert path.read_bytes() == b"new"


@posix
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640)])
def test_mode_follows_the_umask(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        _files.replace_file(tmp_path / "x.bin", b"new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x.bin").stat().st_mode) == mode


@posix
def test_links_are_followed(old):
    link = old.parent / "link.bin"
    link.symlink_to(old.name)
    _files.replace_file(link, b"new")
    assert link.is_symlink()
    assert old.read_bytes() == b"new"


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt(), MemoryError()],
)
def test_failure_at_any_step_changes_nothing(old, monkeypatch, step, error):
    monkeypatch.setattr(os, step, raising(error))
    with pytest.raises(type(error)) as caught:
        _files.replace_file(old, b"new")
    assert old.read_bytes() == b"old"
    assert os.listdir(old.parent) == ["out.bin"]
    if isinstance(error, OSError):
        message = str(caught.value)
        assert message.startswith(f"{old} could not be saved (No space left on device)")
        assert "\n" not in message


@posix
def test_no_room_for_the_data_changes_nothing(old):
    # The system itself refuses to write more, in the middle of the file.
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match="could not be saved"):
            _files.replace_file(old, bytes(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert old.read_bytes() == b"old"
    assert os.listdir(old.parent) == ["out.bin"]


def test_of_two_writers_the_last_complete_file_wins(old):
    size, rounds = 200_000, 25
    whole = {b"old", b"1" * size, b"2" * size}

    def write(data):
        for _ in range(rounds):
            _files.replace_file(old, data)

    writers = [threading.Thread(target=write, args=(data * size,)) for data in (b"1", b"2")]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert old.read_bytes() in whole
    for writer in writers:
        writer.join()
    assert old.read_bytes() in whole - {b"old"}
    assert os.listdir(old.parent) == ["out.bin"]
