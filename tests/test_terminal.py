"""Pictures in terminals: what goes to a pseudo-terminal that answers as real ones do."""

import base64
import io
import os
import re
import subprocess
import sys
import threading

import helpers
import numpy as np
import pytest
from PIL import Image

from jaxnst.cli import outputs, terminal
from jaxnst.cli.errors import UsageError
from jaxnst.image import load_image, save_image

pty = pytest.importorskip("pty")

KITTY = b"\x1b_Gi=31;OK\x1b\\\x1b[?62;c"
XTERM = b"\x1b[?64;1;2;4;6;9;15;22c"
PLAIN = b"\x1b[?1;2c"
NAMES = "TERM", "TERM_PROGRAM", "LC_TERMINAL", "TMUX", "STY"


class Terminal:
    """A pseudo-terminal of 24 lines of 80 characters, 10x20 pixels each, with its answer."""

    def __init__(self, answer):
        self.far, self.end = pty.openpty()
        import fcntl
        import struct
        import termios

        fcntl.ioctl(self.end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 800, 480))
        self.got, self.answer = b"", answer
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        asked = False
        while True:
            try:
                self.got += os.read(self.far, 65536)
            except OSError:  # the other end is closed
                return
            if not asked and terminal.QUESTION in self.got:
                asked = True
                os.write(self.far, self.answer)


@pytest.fixture
def on(monkeypatch):
    """Make stderr a terminal that answers so, with these variables of the environment."""
    opened = []

    def on(answer, **environment):
        for name in NAMES:
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        made = Terminal(answer)
        opened.append(made)
        made.file = os.fdopen(os.dup(made.end), "w")
        monkeypatch.setattr(sys, "stderr", made.file)
        terminal.find_protocol.cache_clear()
        return made

    monkeypatch.setattr(terminal, "SECONDS", 0.2)
    yield on
    terminal.find_protocol.cache_clear()
    for made in opened:
        made.file.close()
        os.close(made.end)


@pytest.mark.parametrize(
    ("answer", "environment", "expected"),
    [
        (KITTY, {}, "kitty"),
        (XTERM, {}, "sixel"),
        (PLAIN, {}, None),
        (PLAIN, {"TERM_PROGRAM": "iTerm.app"}, "iterm"),
        (XTERM, {"TERM_PROGRAM": "WezTerm"}, "iterm"),
        (b"", {"LC_TERMINAL": "iTerm2"}, "iterm"),
        (b"", {"TERM": "xterm-kitty"}, "kitty"),
        (b"", {"TERM": "xterm-256color"}, None),
        (XTERM, {"TERM": "dumb"}, None),
        (PLAIN, {"TERM_PROGRAM": "iTerm.app", "TMUX": "1"}, None),
        (XTERM, {"TERM": "xterm-kitty", "TMUX": "1"}, "sixel"),
    ],
)
def test_a_terminal_is_known_by_its_answer_or_else_by_its_name(on, answer, environment, expected):
    on(answer, **environment)
    assert terminal.find_protocol() == expected


def test_the_question_leaves_the_terminal_as_it_was(on):
    import termios

    made = on(KITTY)
    before = termios.tcgetattr(made.end)
    assert terminal.find_protocol() == "kitty" and termios.tcgetattr(made.end) == before


def test_what_cannot_show_pictures_is_refused(on, monkeypatch):
    on(PLAIN)
    with pytest.raises(UsageError, match=r"--preview -: this terminal shows .* --preview FILE$"):
        terminal.check_terminal()
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    terminal.find_protocol.cache_clear()
    with pytest.raises(UsageError, match=r"--preview -: standard error is not a terminal: use --p"):
        terminal.check_terminal()
    assert outputs.BESIDE["preview"]  # a file is checked as before


def kitty_pictures(got):
    """Return the pictures, each with the keys of its first piece."""
    found = []
    for keys, data in re.findall(rb"\x1b_G([^;]*);([^\x1b]*)\x1b\\", got):
        values = dict(pair.split("=") for pair in keys.decode().split(","))
        assert len(data) <= 4096 and len(data) % 4 == 0
        if "a" in values:
            found.append((values, b""))
        found[-1] = found[-1][0], found[-1][1] + data
    return [
        (values, np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))))
        for values, data in found
        if values["a"] == "T"
    ]


def sixel_picture(text):
    """Decode a picture, uint8; what no sixel covers is 0."""
    size, body = re.fullmatch(r'\x1bP0;1q"1;1;(\d+;\d+)(#.*)\x1b\\', text, re.DOTALL).groups()
    width, height = map(int, size.split(";"))
    palette = {
        int(i): tuple(map(int, c.split(";"))) for i, c in re.findall(r"#(\d+);2;([\d;]+)", body)
    }
    body = re.sub(r"#\d+;2;[\d;]+", "", body)
    picture = np.zeros((-(-height // 6) * 6, width, 3))
    for band, lines in enumerate(body.split("-")):
        for line in lines.split("$"):
            color, runs = re.fullmatch(r"#(\d+)((?:(?:!\d+)?[?-~])*)", line).groups()
            at = 0
            for count, bits in re.findall(r"(?:!(\d+))?([?-~])", runs):
                count = int(count or 1)
                for row in range(6):
                    if (ord(bits) - 63) >> row & 1:
                        picture[6 * band + row, at : at + count] = palette[int(color)]
                at += count
            assert at == width
    assert not picture[height:].any(), "it is drawn over the line below"
    return picture[:height] * 2.55


def test_a_picture_comes_out_of_each_protocol():
    shown, area = helpers.picture(48, 64), (8, 3)
    levels = np.rint(shown * 255)
    (values, kitty), *more = kitty_pictures(terminal.encode(shown, "kitty", area).encode())
    assert not more and (values["c"], values["r"], values["C"]) == ("8", "3", "1")
    np.testing.assert_array_equal(kitty, levels)
    iterm = terminal.encode(shown, "iterm", area)
    found = re.fullmatch(r"\x1b\]1337;File=inline=1;width=8;height=3;.*:(.*)\a", iterm)
    np.testing.assert_array_equal(
        np.asarray(Image.open(io.BytesIO(base64.b64decode(found[1])))), levels
    )
    x, y = np.meshgrid(np.linspace(0, 1, 64), np.linspace(0, 1, 48))
    shown = np.stack([x, y, 1 - x], axis=-1).astype(np.float32)
    levels = np.rint(shown * 255)
    sixel = sixel_picture(terminal.encode(shown, "sixel", area))
    assert sixel.shape == (60, 80, 3)
    large = np.asarray(Image.fromarray(levels.astype(np.uint8)).resize((80, 60), 2), float)
    assert np.abs(sixel - large).mean() < 6  # of 255


def test_a_picture_replaces_the_last_one_in_its_place(on):
    made = on(KITTY)
    show = terminal.TerminalPicture()
    for seed in range(2):
        show(helpers.picture(300, 400, seed=seed))
        sys.stderr.flush()
    made.thread.join(0.2)
    first, second = made.got.partition(terminal.QUESTION)[2].split(b"\x1b8")[:2]
    # 24 lines less 4 are 400 pixels, 533 wide.
    assert first.startswith(b"\r\n" * 20 + b"\x1b7\x1b[20A\r\x1b_G")
    assert second.startswith(b"\x1b7\x1b[20A\r\x1b_G")
    (one, _), (other, _) = kitty_pictures(first + second)
    assert one == other and (one["c"], one["r"]) == ("53", "20")


def test_a_run_shows_its_picture_as_it_goes_on(tmp_path):
    save_image(tmp_path / "content.png", helpers.picture(40, 60))
    save_image(tmp_path / "style.png", helpers.picture(50, 40, seed=1))
    made = Terminal(KITTY)
    run = ("content.png", "style.png", "-o", "out.png", "--size", "32", "--steps", "3")
    environment = {name: value for name, value in os.environ.items() if name not in NAMES}
    with subprocess.Popen(
        [sys.executable, "-m", "jaxnst", "run", *run, *helpers.SHALLOW, "--preview", "-"],
        cwd=tmp_path,
        env=environment | {"TERM": "xterm"},
        stdout=subprocess.PIPE,
        stderr=made.end,
    ) as process:
        assert process.communicate(timeout=120)[0] == b"out.png\n"
    os.close(made.end)
    made.thread.join(5)
    pictures = kitty_pictures(made.got)
    assert process.returncode == 0 and pictures
    result = np.rint(load_image(tmp_path / "out.png") * 255)
    np.testing.assert_array_equal(pictures[-1][1], result)
