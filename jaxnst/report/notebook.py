"""A run shown below a notebook's cell as it goes: its picture, its progress, its losses.

IPython is imported only when :func:`live` is called; the curve of the losses needs Matplotlib.
"""

import base64
import time
from collections.abc import Callable
from typing import Any

from jaxnst.report.animation import as_frame, png
from jaxnst.report.plot import History, can_plot, draw_losses
from jaxnst.transfer.result import Progress


def live(*, seconds: int | float = 1.0, longest: int = 384) -> Callable[[Progress], None]:
    """Make a callback that shows a run below the present cell: ``stylize(..., callback=live())``.

    Args:
      seconds: Least time between two pictures; the last one is always shown.
      longest: Longest side of the picture, pixels.

    Returns:
      The callback, for one run.

    Raises:
      ModuleNotFoundError: IPython is missing.
    """
    try:
        from IPython.display import HTML, DisplayHandle
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "live() shows a run in a notebook, which IPython does: pip install ipython"
        ) from error
    return _Live(DisplayHandle(), HTML, seconds, longest)


class _Live:
    def __init__(self, handle: Any, html: Callable[[str], Any], seconds: int | float, longest: int):
        self.handle, self.html, self.seconds, self.longest = handle, html, seconds, longest
        self.shown_at: float | None = None
        self.history = History()

    def __call__(self, progress: Progress) -> None:
        self.history(progress)
        now, over = time.monotonic(), progress.total_done >= progress.total
        if self.shown_at is None:
            self.handle.display(self.html(self.page(progress)))
        elif over or now - self.shown_at >= self.seconds:
            self.handle.update(self.html(self.page(progress)))
        else:
            return
        self.shown_at = time.monotonic()

    def page(self, progress: Progress) -> str:
        height, width = progress.size
        text = (
            f"scale {progress.scale + 1}/{progress.scales}, {width}x{height}: "
            f"{progress.total_done}/{progress.total} evaluations, {progress.seconds:.0f} s"
        )
        if progress.phase == "compile":
            text += ", compiling"
        if progress.losses:
            terms = (f"{name} {value:.3g}" for name, value in progress.losses.items())
            text += "<br>" + ", ".join(terms)
        pictures = [png(as_frame(progress.image(), longest=self.longest))]
        if self.history.losses and can_plot():
            pictures.append(self.curve())
        images = (
            f'<img src="data:image/png;base64,{base64.b64encode(p).decode()}" '
            'style="display:inline-block;margin-right:1em">'
            for p in pictures
        )
        return f"<div>{''.join(images)}</div><div>{text}</div>"

    def curve(self) -> bytes:
        history = self.history
        return draw_losses(
            history.losses,
            evaluations=history.evaluations,
            scales=history.scales,
            inches=(4.5, 3.0),
        )
