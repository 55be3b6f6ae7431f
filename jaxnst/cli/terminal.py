"""Pictures in a terminal: kitty's graphics protocol, iTerm2's inline images, or sixel.

No library does this: term-image needs a Pillow older than ours, and textual-image knows no iTerm2
and questions the terminal when it is imported.

Sources: https://sw.kovidgoyal.net/kitty/graphics-protocol/, https://iterm2.com/documentation-images
and, for sixel, DEC's VT330/VT340 Programmer Reference Manual, chapter 14.
"""

import base64
import contextlib
import os
import select
import sys
import time
from collections.abc import Iterator
from functools import cache
from typing import Any, Literal, TypeAlias

from jaxnst.cli.errors import UsageError
from jaxnst.cli.progress import ProgressBar
from jaxnst.image import fit, resize
from jaxnst.image.color import Pixels
from jaxnst.image.exchange import png_bytes, sixel_text
from jaxnst.report.contact_sheet import on_white

Protocol: TypeAlias = Literal["kitty", "iterm", "sixel"]

SECONDS = 1.0
"""Most time that a terminal has for its answer, which may come from another machine."""

# Does it know kitty's protocol? What is it? Every terminal answers the second question.
QUESTION = b"\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\\x1b[c"

LIKE_KITTY = "kitty", "ghostty"
LIKE_ITERM = "iterm", "wezterm", "mintty"
"""What names of terminals hold that can show pictures but may not answer."""

CELL = 10, 20
"""Width and height of a character in pixels, as a VT340 has them, if the terminal does not say."""

LINES_BELOW = 4
"""Lines of the terminal left below a preview, for the progress and a line or two more."""

IMAGE = 4961
"""The number that kitty keeps the picture by, which replaces the one before."""


@cache
def find_protocol() -> Protocol | None:
    """Find out how pictures are shown in the terminal of stderr; None if it cannot show any."""
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        return None
    answer = _ask(sys.stderr.fileno())
    attributes = answer.rpartition(b"\x1b[?")[2].removesuffix(b"c").split(b";")
    # tmux and screen pass nothing on, and have the variables of the terminal they began in.
    inside = os.environ.get("TMUX") or os.environ.get("STY")
    names = ("TERM", "TERM_PROGRAM", "LC_TERMINAL")
    terminal = "" if inside else " ".join(os.environ.get(name, "") for name in names).lower()
    if b"_Gi=31;OK" in answer or (not answer and any(name in terminal for name in LIKE_KITTY)):
        return "kitty"
    if any(name in terminal for name in LIKE_ITERM):
        return "iterm"
    return "sixel" if b"4" in attributes[1:] else None


def _ask(terminal: int) -> bytes:
    """Return what the terminal answers to QUESTION, empty if it does not."""
    try:
        import termios
        import tty

        with contextlib.suppress(OSError):  # it controls other processes than this one
            if os.tcgetpgrp(terminal) != os.getpgrp():
                return b""  # a process in the background is stopped if it reads
        before = termios.tcgetattr(terminal)
    except (ImportError, OSError, termios.error):  # Windows, or stderr cannot be read
        return b""
    answer, end = b"", time.monotonic() + SECONDS
    try:
        tty.setcbreak(terminal, termios.TCSANOW)  # so that the answer is not shown
        os.write(terminal, QUESTION)
        while not (b"\x1b[?" in answer and answer.endswith(b"c")):
            if not select.select([terminal], [], [], max(0.0, end - time.monotonic()))[0]:
                return b""
            answer += os.read(terminal, 1024)
    except OSError:
        return b""
    finally:
        termios.tcsetattr(terminal, termios.TCSANOW, before)
    return answer


def check_terminal() -> None:
    """Refuse a terminal that cannot show pictures.

    Raises:
      UsageError: It cannot, or stderr is none.
    """
    if find_protocol() is None:
        what = "this terminal shows no pictures, as kitty, iTerm2 and others with sixel do"
        if not sys.stderr.isatty():
            what = "standard error is not a terminal"
        raise UsageError(f"--preview -: {what}: use --preview FILE")


class TerminalPicture:
    """A picture in the terminal of stderr, above the progress bar; each replaces the last."""

    def __init__(self) -> None:
        self.protocol = find_protocol()
        self.area: tuple[int, int] | None = None  # columns and lines

    def __call__(self, picture: Pixels) -> None:
        """Show a picture ``(H, W, 3)`` or ``(H, W, 4)`` in [0, 1]."""
        from rich.console import Console

        bar = ProgressBar.open
        console = Console(stderr=True) if bar is None else bar.bars.console
        columns, lines, cell = _terminal_size()
        room = ""
        if self.area is None:
            height, width = picture.shape[:2]
            most = (columns - 1) * cell[0] / width, max(1, lines - LINES_BELOW) * cell[1] / height
            width, height = (max(1, round(min(most) * side)) for side in (width, height))
            self.area = max(1, width // cell[0]), max(1, height // cell[1])
            room = "\n" * self.area[1]
        data = encode(picture, self.protocol, self.area, cell)
        # From the line below the picture to its first one, and back.
        console.print(_Raw(f"{room}\x1b7\x1b[{self.area[1]}A\r{data}\x1b8"), end="")


def _terminal_size() -> tuple[int, int, tuple[int, int]]:
    """Return columns, lines, and width and height of a character in pixels."""
    lines, columns, width, height = 24, 80, 0, 0
    with contextlib.suppress(ImportError, OSError):
        import fcntl
        import struct
        import termios

        reply = fcntl.ioctl(sys.stderr.fileno(), termios.TIOCGWINSZ, bytes(8))
        lines, columns, width, height = struct.unpack("HHHH", reply)
    columns, lines = columns or 80, lines or 24
    return columns, lines, (width // columns or CELL[0], height // lines or CELL[1])


class _Raw:
    """A text that Rich writes as it is."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __rich_console__(self, *_: Any) -> Iterator[Any]:
        from rich.segment import ControlType, Segment

        yield Segment(self.text, None, [(ControlType.CURSOR_FORWARD, 0)])


def encode(
    picture: Pixels, protocol: Protocol | None, area: tuple[int, int], cell: tuple[int, int] = CELL
) -> str:
    """Return what shows a picture in a terminal, from the place of the cursor on.

    The picture is ``(H, W, 3)`` or ``(H, W, 4)`` in [0, 1] and fills the columns and lines of
    ``area``; ``cell`` are width and height of a character, pixels.
    """
    columns, lines = area
    width, height = columns * cell[0], lines * cell[1]
    if protocol == "sixel":
        return sixel_text(resize(on_white(picture), (height, width)))
    longest = min(
        max(picture.shape[:2]), max(width, height)
    )  # the terminal enlarges what is smaller
    frame = resize(on_white(picture), fit(picture.shape[:2], longest))
    data = base64.b64encode(png_bytes(frame)).decode()
    if protocol == "iterm":
        size = f"width={columns};height={lines};preserveAspectRatio=0;doNotMoveCursor=1"
        return f"\x1b]1337;File=inline=1;{size}:{data}\a"
    pieces = [data[i : i + 4096] for i in range(0, len(data), 4096)]
    how = [f"a=T,f=100,i={IMAGE},p=1,q=2,C=1,c={columns},r={lines},"] + [""] * (len(pieces) - 1)
    more = [1] * (len(pieces) - 1) + [0]
    parts = zip(how, more, pieces, strict=True)
    return "".join(f"\x1b_G{keys}m={m};{piece}\x1b\\" for keys, m, piece in parts)
