"""Printing never fails the work: closed, full and narrow standard streams."""

import os
import subprocess
import sys

import helpers
import pytest

from jaxnst.cli import messages
from jaxnst.image import load_image, save_image

NAME = "выход.png"
SMALL = ("--size", "32", "--steps", "2", *helpers.SHALLOW)
POSIX = pytest.mark.skipif(os.name == "nt", reason="the shell closes streams")
FULL = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")

PRINTING = f"""
import sys
from jaxnst.cli.errors import print_error
from jaxnst.cli.messages import Messages, print_line, printing
with printing("jaxnst"):
    file = open("other.txt", "w")
    Messages("jaxnst", quiet=False).info("a message")
    print_error("jaxnst", "an error", 1)
    for name in ({NAME!r}, "caf\\udce9.png", "\\ud83d.png"):
        print_line(name)
    file.close()
open("end.txt", "w").write("it went on")
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shell(command, redirected="", **environment):
    """Run a command by the shell, with streams redirected: status, stdout, stderr as bytes."""
    line = " ".join(f"'{word}'" for word in (sys.executable, *command))
    done = subprocess.run(
        ["sh", "-c", f"{line} {redirected}"],
        env={k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"} | environment,
        capture_output=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def printed(folder, redirected="", **environment):
    (folder / "print.py").write_text(PRINTING)
    found = shell(["print.py"], redirected, **environment)
    assert (folder / "end.txt").read_text() == "it went on", found
    assert (folder / "other.txt").read_text() == "", "messages went to a file of another"
    return found


SAID = b"a message\njaxnst: error: an error\n"
UTF8 = NAME.encode() + b"\ncaf\xe9.png\n\\ud83d.png\n"


@POSIX
@pytest.mark.parametrize(
    ("redirected", "out", "err"),
    [
        ("", UTF8, SAID),
        ("2>&-", UTF8, b""),
        (">&-", b"", SAID),
        ("<&- >&- 2>&-", b"", b""),
        pytest.param("2>/dev/full", UTF8, b"", marks=FULL),
    ],
)
def test_streams_that_are_closed_or_full_lose_what_is_printed_alone(folder, redirected, out, err):
    assert printed(folder, redirected, PYTHONIOENCODING="utf-8") == (0, out, err)


@POSIX
@FULL
def test_a_path_that_cannot_be_printed_is_a_notice(folder):
    notice = b"jaxnst: notice: standard output cannot be written (No space left on device); "
    notice += b"results are saved nevertheless\n"
    assert printed(folder, ">/dev/full") == (0, b"", SAID + notice)


@POSIX
@pytest.mark.parametrize(
    ("encoding", "last"), [("cp1252", b"caf\xe9.png\n"), ("ascii:strict", b"caf\xe9.png\n")]
)
def test_what_an_encoding_lacks_is_escaped(folder, encoding, last):
    status, out, err = printed(folder, PYTHONIOENCODING=encoding)
    escaped = NAME.encode("ascii", "backslashreplace")
    assert (status, out, err) == (0, escaped + b"\n" + last + b"\\ud83d.png\n", SAID)


@POSIX
@FULL
@pytest.mark.parametrize("command", [("weights", "list"), ("apply", "--list")])
def test_a_command_that_only_prints_fails_where_that_fails(command):
    status, out, err = shell(["-m", "jaxnst", *command], ">/dev/full")
    assert (status, out) == (1, b"")
    assert err == b"jaxnst: error: standard output cannot be written (No space left on device)\n"


@POSIX
def test_a_picture_and_a_batch_are_painted_whatever_can_be_printed(folder):
    save_image("content.png", helpers.picture(40, 60))
    save_image("style.png", helpers.picture(50, 40, seed=1))
    save_image("ж.png", helpers.picture(40, 60, seed=2))
    save_image("ю.png", helpers.picture(40, 60, seed=3))
    run = ("-m", "jaxnst", "run", "content.png", "style.png", "-o", NAME, *SMALL)
    assert shell(run, "2>&-", PYTHONIOENCODING="cp1252") == (
        0,
        NAME.encode("ascii", "backslashreplace") + b"\n",
        b"",
    )
    assert load_image(NAME).shape == (21, 32, 3)
    batch = ("--contents", "[жю].png", "--styles", "style.png", "--out", "out", *SMALL)
    status, out, err = shell(("-m", "jaxnst", "batch", *batch, "--quiet"), PYTHONIOENCODING="ascii")
    assert (status, err) == (0, b"") and sorted(out.split()) == [
        rb"out/\u0436-style.png",
        rb"out/\u044e-style.png",
    ]
    assert sorted(os.listdir("out")) == ["results.jsonl", "ж-style.png", "ю-style.png"]


@POSIX
def test_a_bar_whose_terminal_goes_away_costs_no_picture(folder):
    pty = pytest.importorskip("pty")
    save_image("content.png", helpers.picture(40, 60))
    save_image("style.png", helpers.picture(50, 40, seed=1))
    try:
        terminal, end = pty.openpty()
    except OSError:
        pytest.skip("there is no pseudo-terminal")
    command = [sys.executable, "-m", "jaxnst", "run", "content.png", "style.png", "-o", "out.png"]
    with subprocess.Popen(
        [*command, *SMALL], stdout=subprocess.PIPE, stderr=end, start_new_session=True
    ) as process:
        os.close(end)
        assert os.read(terminal, 1)  # it has begun
        os.close(terminal)
        assert process.communicate(timeout=120)[0] == b"out.png\n"
    assert process.returncode == 0 and load_image("out.png").shape == (21, 32, 3)


def test_a_message_shows_the_bytes_of_a_name_that_is_no_text(capsys):
    messages.Messages("jaxnst", quiet=False).info("caf\udce9.png\x1b[1m\n")
    assert capsys.readouterr().err == "caf\\udce9.png [1m \n"


@POSIX
@pytest.mark.parametrize("command", ["--tips", "--show-recipe=default"])
def test_a_reader_that_goes_away_ends_what_only_prints(command):
    run = [sys.executable, "-u", "-m", "jaxnst", "run", command]
    with subprocess.Popen(run, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1
