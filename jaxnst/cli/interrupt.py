"""Signals that end a run: it is left where it is, so that its picture so far can be saved.

The work runs in another thread while the main thread waits for signals. So it reacts at once,
however long a compilation or a step takes, and nothing has to be unwound: after a stop the process
saves what it has and ends.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from types import FrameType
from typing import NoReturn, TypeVar

from jaxnst.cli.errors import STOPPED, leave
from jaxnst.cli.messages import Messages
from jaxnst.cli.progress import ProgressBar

T = TypeVar("T")

RESUMABLE = "; what is finished is saved; run the same command again to resume"
"""What is saved by commands that keep a log."""

SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGXCPU", "SIGUSR1", "SIGUSR2", "SIGBREAK")
    if hasattr(signal, name)
)
"""Signals by which users and systems end a process: Ctrl-C, kill, a terminal or connection that
closed, the warnings of batch systems, and on Windows a console that closed."""

FORCING = (signal.SIGINT, signal.SIGTERM)
"""Signals of which a second one ends the process at once. After the others only Ctrl-C does: where
a terminal closes, the system, the shell and the session manager may each send one."""


class Stopped(Exception):
    """The user stopped the command.

    Attributes:
      status: The exit status.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.status = STOPPED if number == signal.SIGINT else 128 + number


def stoppable(work: Callable[[], T]) -> T:
    """Call ``work`` in another thread, and return what it returns.

    Raises:
      Stopped: On the first of SIGNALS; the work continues until the process ends. A second one may
        raise KeyboardInterrupt (FORCING), wherever the main thread is by then.
      Exception: What the work raised.
    """
    future: Future[T] = Future()

    def target() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    def stop(number: int) -> NoReturn:
        raise Stopped(number)

    with _on_first_signal(stop, keep=True):
        threading.Thread(target=target, name="jaxnst-run", daemon=True).start()
        # On Windows a signal is seen only between two waits.
        while not wait([future], timeout=0.5).done:
            pass
    return future.result()


@contextlib.contextmanager
def exit_when_stopped(messages: Messages, saved: str = "") -> Iterator[None]:
    """End the process on a stop, after one line that says what is saved."""
    try:
        yield
    except Stopped as stop:
        if ProgressBar.open is not None:
            ProgressBar.open.close()  # the message starts on a line of its own
        messages.info(f"{messages.prog}: stopped{saved}")
        leave(stop.status)


def finishing() -> contextlib.AbstractContextManager[None]:
    """Save a result in spite of a first signal: the process is about to end anyway."""
    return _on_first_signal(lambda _: None, keep=False)


@contextlib.contextmanager
def _on_first_signal(react: Callable[[int], None], *, keep: bool) -> Iterator[None]:
    """Call ``react`` on the first signal. Later ones end the process at once, or are ignored.

    Args:
      react: Called with the signal's number, in the main thread.
      keep: Whether signals stay as they are after the first one, when the context ends.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread can handle signals
        return
    # nohup ignores SIGHUP. Shells ignore SIGINT for what runs in the background, but a user who
    # sends it to such a run wants it to stop.
    handled = [
        number
        for number in SIGNALS
        if number == signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN
    ]

    def handle(number: int, _: FrameType | None) -> None:
        _leave_dead_terminal()
        forcing = FORCING if number in FORCING else (signal.SIGINT,)
        for other in handled:
            signal.signal(other, signal.default_int_handler if other in forcing else signal.SIG_IGN)
        react(number)

    before = {number: signal.signal(number, handle) for number in handled}
    try:
        yield
    finally:
        if not keep or all(signal.getsignal(number) is handle for number in handled):
            for number, handler in before.items():
                signal.signal(number, handler)


def _leave_dead_terminal() -> None:
    """Discard what is printed from now on, if its terminal has gone."""
    for stream in (1, 2):
        try:
            os.write(stream, b"")
        except OSError:
            with contextlib.suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
