"""A run shown below a notebook's cell as it goes: its picture, its progress, its losses.

IPython is imported only when :func:`live` is called; the curve of the losses needs Matplotlib.
"""

import base64
import io
import time
from collections.abc import Callable

from PIL import Image

from jaxnst.report.animation import as_frame
from jaxnst.report.plot import History, can_plot, draw_losses
from jaxnst.transfer.result import Progress


def live(*, seconds: int | float = 1.0, longest: int = 384) -> Callable[[Progress], None]:
    """Make a callback that shows a run below the current cell: ``stylize(..., callback=live())``.

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
    handle, history = DisplayHandle(), History()
    shown_at: float | None = None

    def show(progress: Progress) -> None:
        nonlocal shown_at
        history(progress)
        is_last = progress.total_done >= progress.total
        if shown_at is not None and not is_last and time.monotonic() - shown_at < seconds:
            return
        update = handle.display if shown_at is None else handle.update
        update(HTML(_page(progress, history, longest)))
        shown_at = time.monotonic()

    return show


def _page(progress: Progress, history: History, longest: int) -> str:
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
    buffer = io.BytesIO()
    Image.fromarray(as_frame(progress.image(), longest=longest)).save(buffer, "PNG")
    pictures = [buffer.getvalue()]
    if history.losses and can_plot():
        evaluations, scales = history.evaluations, history.scales
        pictures.append(
            draw_losses(history.losses, evaluations=evaluations, scales=scales, inches=(4.5, 3.0))
        )
    images = (
        f'<img src="data:image/png;base64,{base64.b64encode(picture).decode()}" '
        'style="display:inline-block;margin-right:1em">'
        for picture in pictures
    )
    return f"<div>{''.join(images)}</div><div>{text}</div>"
