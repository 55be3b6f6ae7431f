"""Losses as curves, and a run below a notebook's cell."""

import re
import sys
import types

import numpy as np
import pytest

from jaxnst.image import load_image
from jaxnst.report import notebook
from jaxnst.report import plot as plotting
from jaxnst.report.plot import History, check_plot, draw_losses, save_losses
from jaxnst.transfer.result import Progress

pytest.importorskip("matplotlib", reason="needs Matplotlib")

LOSSES = {"total": [9.0, 4.0, 2.0], "content": [0.0, 1.0, 1.0], "style": [9.0, 3.0, 1.0]}
LOSSES |= {"tv": [0.0, 0.0, 0.0]}


def news(scale, used, losses, *, seconds=0.0):
    """What a run of two scales with 3 and 2 evaluations tells."""
    return Progress(
        phase="optimize" if used else "compile",
        scale=scale,
        scales=2,
        size=((12, 16), (24, 32))[scale],
        evaluations=used,
        scale_evaluations=(3, 2)[scale],
        total_done=3 * scale + used,
        total=5,
        losses=losses,
        image=lambda: np.full((24, 32, 3), 0.5, np.float32),
        seconds=seconds,
    )


def test_a_history_is_what_was_reported():
    history = History()
    for scale, used, total in ((0, 0, None), (0, 1, 9.0), (0, 3, np.nan), (1, 0, None), (1, 2, 4)):
        history(news(scale, used, {} if total is None else {"total": float(total), "tv": 0.0}))
    assert history.evaluations == [1, 5] and history.losses == {"total": [9.0, 4.0], "tv": [0, 0]}
    assert history.scales == [(0, (12, 16)), (3, (24, 32))]


def words(svg):
    """All texts of a plot, which SVG keeps as comments."""
    return re.findall(r"<!-- (.+?) -->", svg.decode())


def test_terms_and_scales_are_named_and_what_is_zero_is_not():
    scales = [(0, (12, 16)), (2, (24, 32))]
    found = words(draw_losses(LOSSES, scales=scales, kind="svg"))
    assert {"total", "content", "style", "16x12", "32x24", "evaluations"} <= set(found)
    assert "tv" not in found


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_the_same_losses_give_the_same_file(kind):
    once, again = (draw_losses(LOSSES, kind=kind) for _ in range(2))
    assert once == again
    assert once != draw_losses(LOSSES | {"total": [9.0, 5.0, 2.0]}, kind=kind)


def test_a_plot_has_curves_where_the_losses_are(tmp_path):
    save_losses(tmp_path / "a.png", {"total": [1.0, 1.0]}, evaluations=[10, 20])
    picture = load_image(tmp_path / "a.png")
    assert picture.shape == (540, 960, 3)
    dark = (picture.max(-1) < 0.25).sum(1)
    assert dark.max() > 700  # one straight line across


def test_what_cannot_be_drawn_is_refused(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="no number above 0"):
        draw_losses({"total": [0.0, -1.0, np.nan, np.inf]})
    with pytest.raises(ValueError, match=r"expected one of \.png, \.svg, \.pdf"):
        check_plot(tmp_path / "a.jpg")
    with pytest.raises(FileNotFoundError):
        check_plot(tmp_path / "no" / "a.png")
    monkeypatch.setattr(plotting, "find_spec", lambda _: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'jaxnst\[watch\]'"):
        check_plot(tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


# In a notebook.


@pytest.fixture
def pages(monkeypatch):
    """What IPython was asked to show, and how."""
    shown = []

    class DisplayHandle:
        def display(self, page):
            shown.append(("display", page))

        def update(self, page):
            shown.append(("update", page))

    display = types.ModuleType("IPython.display")
    display.HTML, display.DisplayHandle = str, DisplayHandle
    ipython = types.ModuleType("IPython")
    ipython.version_info, ipython.get_ipython = (9, 0), lambda: None  # Matplotlib asks
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    return shown


def test_a_run_is_shown_in_one_place_with_picture_losses_and_curve(pages):
    callback = notebook.live(seconds=0)
    callback(news(0, 0, {}))
    callback(news(0, 1, {"total": 9.0, "style": 8.5}, seconds=2.2))
    callback(news(0, 2, {"total": np.inf, "style": np.inf}))
    assert [how for how, _ in pages] == ["display", "update", "update"]
    assert "compiling" in pages[0][1] and pages[0][1].count("data:image/png") == 1
    page = pages[1][1]
    assert "scale 1/2, 16x12: 1/5 evaluations, 2 s<br>total 9, style 8.5" in page
    assert page.count("data:image/png") == 2


def test_pages_come_now_and_then_and_the_last_always(pages):
    callback = notebook.live(seconds=3600)
    for used in (1, 2, 3):
        callback(news(0, used, {"total": 1.0}))
    assert len(pages) == 1
    callback(news(1, 2, {"total": 1.0}))
    assert len(pages) == 2 and "5/5 evaluations" in pages[-1][1]
    callback(news(1, 3, {"total": 1.0}))  # the last line search took one more than there were
    assert len(pages) == 3 and "6/5 evaluations" in pages[-1][1]


def test_there_is_no_curve_without_matplotlib_and_nothing_without_ipython(pages, monkeypatch):
    monkeypatch.setattr(notebook, "can_plot", lambda: False)
    callback = notebook.live()
    callback(news(0, 1, {"total": 9.0}))
    assert pages[0][1].count("data:image/png") == 1
    monkeypatch.setitem(sys.modules, "IPython.display", None)
    with pytest.raises(ModuleNotFoundError, match="pip install ipython"):
        notebook.live()
