"""The page of the studio, in a real browser without a window."""

import base64
import os
import re
import shutil
import time

import helpers
import jax
import numpy as np
import pytest
from playwright.sync_api import sync_playwright
from studio_helpers import SETTINGS, TOKEN, serving

from jaxnst.image import load_image, read_record, resize
from jaxnst.image.exchange import png_bytes

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
pytestmark = pytest.mark.skipif(
    not os.path.exists(CHROMIUM), reason="Chromium is not installed: apt-get install chromium"
)

PHOTO, PAINTING, OTHER = (png_bytes(helpers.picture(96, 128, seed=seed)) for seed in (1, 2, 3))
LONG = {**SETTINGS, "scales": (64,), "steps": 3000}
"""A painting that takes some seconds."""

DROP = """([data, name, x]) => {
  const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([bytes], name, { type: "image/png" }));
  const event = (kind) => new DragEvent(kind, { dataTransfer, bubbles: true, clientX: x });
  for (const kind of ["dragenter", "dragover", "drop"]) document.body.dispatchEvent(event(kind));
}"""


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as running:
        browser = running.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser):
    """Open the page of a studio; at the end no script of it may have failed."""
    contexts, errors = [], []

    def open_page(studio, choosers=None):
        contexts.append(browser.new_context(viewport={"width": 1280, "height": 720}))
        page = contexts[-1].new_page()
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: errors.append(str(error)))
        if choosers is not None:  # dialogs of files: later on, the first might be missed
            page.on("filechooser", lambda chooser: choosers.append(chooser))
        page.on("console", lambda m: m.type == "error" and errors.append(m.text))
        page.goto(f"{studio.origin}/?token={TOKEN}")
        page.wait_for_selector("body[data-status]:not([data-status=loading])")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert [text for text in errors if "status of 4" not in text and "net::ERR" not in text] == []


@pytest.fixture
def studio(tmp_path):
    with serving(tmp_path / "out", settings=LONG) as studio:
        yield studio


def drop(page, data, name, *, left):
    x = 100 if left else page.viewport_size["width"] - 100
    page.evaluate(DROP, [base64.b64encode(data).decode(), name, x])


def begin(page, studio, *, until="painting"):
    """Drop a photograph and a painting, and wait for the first frame."""
    drop(page, PHOTO, "photo.png", left=True)
    page.wait_for_selector(".card[data-role=content] img")
    drop(page, PAINTING, "painting.png", left=False)
    page.wait_for_selector(f"body[data-status={until}]")
    page.wait_for_selector(".view[data-left^='/frame']")


def wait(page, expression):
    """Wait until an expression is true; Playwright's own way is not allowed by the page."""
    end = time.monotonic() + 60
    while not page.evaluate(expression):
        assert time.monotonic() < end, expression
        page.wait_for_timeout(50)


def frames(page):
    return int(page.evaluate("document.body.dataset.frames"))


def test_two_dropped_pictures_are_painted_and_a_slider_turns_the_picture(
    open_page, studio, monkeypatch
):
    page = open_page(studio)
    assert page.locator(".welcome").is_visible() and not page.locator(".panel").is_visible()
    begin(page, studio)
    wait(page, "Number(document.body.dataset.frames) >= 5")
    assert "scale 1 of 1" in page.inner_text("#status")
    before = float(page.get_attribute(".chart li.style", "data-value"))
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, _, **more: "backend_compile" in event and compiled.append(event)
    )
    slider = page.locator("#slider-style_weight")
    box = slider.bounding_box()
    page.mouse.click(box["x"] + 0.95 * box["width"], box["y"] + box["height"] / 2)
    studio.wait(lambda view: view["values"]["style_weight"] > 50 and not view["pending"])
    wait(page, f"document.querySelector('.chart li.style').dataset.value > {1.5 * before}")
    assert compiled == []
    assert float(page.input_value("#control-style_weight")) > 50
    slider.dblclick()
    studio.wait(lambda view: view["values"]["style_weight"] == 5.0)
    wait(page, "document.querySelector('#control-style_weight').value === '5'")


def test_outside_of_a_brushed_mask_nothing_is_painted(open_page, tmp_path):
    plain = {**SETTINGS, "tv_weight": 0.0, "steps": 60, "scales": (64,)}
    with serving(tmp_path / "out", settings=plain) as studio:
        page = open_page(studio)
        begin(page, studio, until="finished")
        page.keyboard.press("b")
        page.wait_for_selector(".view[data-left^='/pictures/content']")
        box = page.locator("#mask").bounding_box()
        for row in range(1, 10):
            y = box["y"] + row * box["height"] / 10
            page.mouse.move(box["x"] + 4, y)
            page.mouse.down()
            page.mouse.move(box["x"] + box["width"] * 0.3, y)
            page.mouse.up()
        studio.wait(lambda view: view["mask"] is not None)
        page.wait_for_timeout(500)  # the last stroke is sent after a moment
        page.keyboard.press("Escape")
        page.click("[data-act=restart]")
        studio.wait(lambda view: view["started"] == 2 and view["status"] == "finished")
        page.wait_for_selector(".view[data-left^='/frame?2-'][data-left$='finished']")
        page.click("text=Keep")
        page.wait_for_selector("[data-version='1']")
        version = studio.session.versions[1]
        assert [s.role for s in version.record.sources] == ["content", "style", "mask"]
        photo = resize(load_image(studio.session.state.content.path), (48, 64))
        change = np.abs(load_image(version.path) - photo).mean(axis=(0, 2))
        assert change[:16].mean() > 0.03 and change[32:].mean() < 0.1 * change[:16].mean()


def test_versions_are_kept_compared_and_found_again(open_page, studio):
    page = open_page(studio)
    begin(page, studio)
    page.keyboard.press("Space")
    page.wait_for_selector("body[data-status=paused]")
    shown = frames(page)
    page.click("text=Keep")
    page.wait_for_selector("[data-version='1']")
    assert frames(page) <= shown + 1
    page.click("#pause-button")
    page.wait_for_selector("body[data-status=painting]")
    page.select_option("#control-colors", "linear")
    studio.wait(lambda view: view["values"]["colors"] == "linear" and not view["pending"])
    page.keyboard.press("k")
    page.click("[data-version='2']")
    page.wait_for_selector(".view[data-left='/versions/2']")
    assert "Version 2" in page.inner_text("#version-tools")
    page.click("[data-version='1']")
    page.keyboard.press("c")
    page.wait_for_selector(".view[data-left='/versions/2'][data-right='/versions/1']")
    page.locator("#wipe").focus()
    page.keyboard.press("Home")
    assert page.evaluate("getComputedStyle(document.querySelector('#right')).clipPath") == (
        "inset(0px 0px 0px 0%)"
    )
    page.keyboard.press("c")
    page.click("text=Go back to this")
    studio.wait(lambda view: view["values"]["colors"] == "style")
    page.click("[data-version='1']")
    page.click(".menu summary")
    assert page.inner_text("#larger").split("\n")[0] == "768 px"
    studio.act("larger", version=1, size=96)  # smaller than any that the page offers
    page.click(".thumb:has(.job)")  # which cancels it
    page.wait_for_selector(".thumb .job", state="detached")
    other = open_page(studio)  # a second tab
    page.reload()
    for tab in (page, other):
        tab.wait_for_selector("[data-version='2']")
        tab.wait_for_selector(".tile[data-role=style] img")
        assert tab.locator(".thumb").count() == 2
    records = [read_record(version.path) for version in studio.session.versions]
    assert [any("colors" in c.options for c in record.changes) for record in records] == [
        False,
        True,
    ]
    other.select_option("#control-colors", "palette")
    wait(page, "document.querySelector('#control-colors').value === 'palette'")
    page.click("[data-version='2']")
    page.keyboard.press("Delete")
    for tab in (page, other):
        tab.wait_for_selector("[data-version='2']", state="detached")
    assert "Version 2 was moved" in page.inner_text(".toast")
    assert page.locator("#version-tools").is_hidden()


def test_everything_works_by_the_keyboard_alone(open_page, studio, tmp_path):
    choosers = []
    page = open_page(studio, choosers)
    for name, data in (("photo.png", PHOTO), ("painting.png", PAINTING)):
        (tmp_path / name).write_bytes(data)
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        studio.wait(lambda _: page.wait_for_timeout(20) or choosers)
        choosers.pop().set_files(tmp_path / name)
        studio.wait(lambda view, name=name: name in str(view["content"]) + str(view["styles"]))
    page.wait_for_selector("body[data-status=painting]")
    page.locator("#slider-style_scale").focus()
    for _ in range(40):
        page.keyboard.press("ArrowRight")
    studio.wait(lambda view: view["values"]["style_scale"] > 1)
    page.keyboard.press("z")
    studio.wait(lambda view: view["values"]["style_scale"] == 1)
    page.keyboard.press("b")
    page.wait_for_selector("#mask:focus")
    for key in ("ArrowLeft", "ArrowUp", "]", "Enter"):
        page.keyboard.press(key)
    studio.wait(lambda view: view["mask"] is not None)
    page.keyboard.press("e")
    for _ in range(6):
        page.keyboard.press("]")
    page.keyboard.press("Enter")
    studio.wait(lambda view: view["mask"] is None)
    page.keyboard.press("Escape")
    page.wait_for_selector("#mask", state="hidden")
    unnamed = page.evaluate(
        "[...document.querySelectorAll('button, input, select, a, canvas')]"
        ".filter((e) => e.checkVisibility() && !e.ariaLabel && !e.labels?.length && "
        "!e.textContent.trim()).map((e) => e.outerHTML)"
    )
    assert unnamed == []


def test_a_stroke_is_kept_while_an_earlier_one_is_on_its_way(open_page, studio):
    page = open_page(studio)
    begin(page, studio)
    page.keyboard.press("b")
    page.wait_for_selector("#mask:focus")
    held = []
    page.route(re.compile("role=mask"), lambda route: held.append(route))
    page.keyboard.press("Enter")
    studio.wait(lambda _: page.wait_for_timeout(20) or held)
    for key in [*["ArrowLeft"] * 6, "Enter", *["ArrowRight"] * 6]:
        page.keyboard.press(key)
    answer = held[0].fetch()
    while not page.locator("#brush-button.set").count():  # the page hears of it before the answer
        page.keyboard.press("Enter")  # and brushing has not paused
    held[0].fulfill(response=answer)
    first = studio.session.state.mask.path
    studio.wait(lambda _: page.wait_for_timeout(20) or held[1:])
    held[1].fulfill(response=held[1].fetch())
    both = studio.session.state.mask.path
    assert load_image(both).mean() > 1.5 * load_image(first).mean() > 0
    page.click("#clear-mask")
    studio.wait(lambda view: view["mask"] is None)


def test_a_broken_picture_is_told_and_the_page_goes_on(open_page, studio):
    page = open_page(studio)
    drop(page, b"no picture", "broken.png", left=True)
    page.wait_for_selector(".toast:not([hidden])")
    assert page.inner_text(".toast").startswith("broken.png is not a JPEG, PNG")
    drop(page, png_bytes(np.zeros((1, 1, 3), np.float32)), "dot.png", left=True)
    wait(page, "document.querySelector('.toast').textContent.startsWith('dot.png')")
    begin(page, studio)


def test_a_server_that_stops_is_told(open_page, tmp_path):
    with serving(tmp_path / "out", settings=SETTINGS) as studio:
        page = open_page(studio)
        begin(page, studio, until="finished")
    wait(page, "document.querySelector('.toast').textContent.includes('not answer')")
    page.context.close()


@pytest.mark.parametrize("size", [(1280, 720), (768, 1024)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_cut_off_and_text_can_be_read(open_page, studio, size, scheme):
    page = open_page(studio)
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": size[0], "height": size[1]})
    begin(page, studio)
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    box = page.locator(".view").bounding_box()
    assert box["width"] * box["height"] > 0.2 * size[0] * size[1]
    assert box["y"] + box["height"] <= size[1]
    if size[1] == 720:
        assert page.evaluate("document.documentElement.scrollHeight") <= size[1]
        for name in ("style_weight", "style_scale", "tv_weight", "colors"):
            assert page.locator(f"#control-{name}").is_visible()
    contrast = page.evaluate(
        """() => {
          const numbers = (color) => color.match(/[0-9.]+/g).slice(0, 3).map((v) => v / 255);
          const linear = (v) => v <= 0.04 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
          const light = (color) => numbers(color).map(linear)
            .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
          const ground = light(getComputedStyle(document.body).backgroundColor);
          return ["#status", ".control label", "h1 span", ".tile"].map((selector) => {
            const text = light(getComputedStyle(document.querySelector(selector)).color);
            return (Math.max(text, ground) + 0.05) / (Math.min(text, ground) + 0.05);
          });
        }"""
    )
    assert min(contrast) > 4.5
