"""Signals that end a run: it is left where it is, so that its picture so far can be saved.

The work goes on in a thread of its own while the main thread listens. The main thread answers at
once, however long a compilation or a step takes, and nothing has to be unwound: after a stop the
process saves what it has and ends.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from types import FrameType
from typing import NoReturn, TypeVar

from jaxnst.cli.errors import STOPPED, leave
from jaxnst.cli.messages import Messages

T = TypeVar("T")

GOES_ON = "; what is finished is saved, the same command goes on"
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
    """The user wants no more of it.

    Attributes:
      status: The exit status that tells so.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.status = STOPPED if number == signal.SIGINT else 128 + number


def stoppable(work: Callable[[], T]) -> T:
    """Do ``work`` in another thread.

    Returns:
      What it returns.

    Raises:
      Stopped: On the first of SIGNALS; the work goes on until the process ends. A second one may
        raise KeyboardInterrupt (FORCING), wherever the main thread is by then.
      Exception: What the work raised.
    """
    future: Future[T] = Future()

    def target() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    with _listening():
        threading.Thread(target=target, name="jaxnst-run", daemon=True).start()
        # On Windows a signal is seen only between two waits.
        while not wait([future], timeout=0.5).done:
            pass
    return future.result()


@contextlib.contextmanager
def leaving_when_stopped(messages: Messages, saved: str = "") -> Iterator[None]:
    """End the process on a stop, after one line that says what is saved."""
    try:
        yield
    except Stopped as stop:
        messages.say(f"{messages.prog}: stopped{saved}")
        leave(stop.status)


@contextlib.contextmanager
def finishing() -> Iterator[None]:
    """Save a result in spite of a first signal: the process is about to end anyway."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard = _heard()

    def handle(number: int, _: FrameType | None) -> None:
        _leave_dead_terminal()
        _only_force(heard, number)

    before = {each: signal.signal(each, handle) for each in heard}
    try:
        yield
    finally:
        for each, old in before.items():
            signal.signal(each, old)


def _heard() -> list[signal.Signals]:
    """List the signals that end this process."""
    # nohup ignores SIGHUP. Shells ignore SIGINT for what runs in the background, but a user who
    # sends it to such a run wants it to stop.
    return [
        each
        for each in SIGNALS
        if each == signal.SIGINT or signal.getsignal(each) is not signal.SIG_IGN
    ]


def _only_force(heard: Sequence[signal.Signals], number: int) -> None:
    """After a first signal, end the process at once on those that force it, ignore the others."""
    forcing = FORCING if number in FORCING else (signal.SIGINT,)
    for each in heard:
        signal.signal(each, signal.default_int_handler if each in forcing else signal.SIG_IGN)


def _leave_dead_terminal() -> None:
    """Let what is printed from now on go nowhere, where its terminal has gone."""
    for stream in (1, 2):
        try:
            os.write(stream, b"")
        except OSError:
            with contextlib.suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream)


@contextlib.contextmanager
def _listening() -> Iterator[None]:
    """Raise Stopped on the first signal; afterwards signals stay as the handler left them."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Signals are the main thread's alone.
        return

    heard = _heard()

    def handle(number: int, _: FrameType | None) -> NoReturn:
        _leave_dead_terminal()
        _only_force(heard, number)
        raise Stopped(number)

    before = {each: signal.signal(each, handle) for each in heard}
    try:
        yield
    except Stopped:
        raise
    finally:
        if all(signal.getsignal(each) is handle for each in before):
            for each, old in before.items():
                signal.signal(each, old)
