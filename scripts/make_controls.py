"""Make the pictures of docs/controls.md and docs/tips.md, into docs/pictures/: one sheet a flag.

    python scripts/make_controls.py [--data DIR] [--only NAME ...] [--size PIXELS]

Every cell is one command line, run as a person would type it, with its flags as the label. Pictures
are the rendered examples and, for the tips, the photographs and paintings of make_gallery.py; masks
and the cut-out are drawn here.
"""

import argparse
import os
import shlex
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from make_gallery import picture
from PIL import Image, ImageDraw, ImageFilter

import jaxnst
from jaxnst.cli import main as run_command
from jaxnst.report.contact_sheet import contact_sheet

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "docs/pictures"
EXAMPLES = ROOT / "examples"


class Sheet(NamedTuple):
    """One control: what every cell has in common, the flags of each, and cells in a row."""

    pictures: str
    cells: tuple[str, ...]
    across: int = 3


SHEETS = {
    "controls-mix": Sheet(
        "content.jpg strokes.jpg shapes.jpg",
        (
            "--style-mix 1,0",
            "--style-mix 0.5,0.5",
            "--style-mix 0,1",
            "--style-mix 1,0 --style-mix relu1_1:0,1 --style-mix relu2_1:0,1",
            "--style-mix 0,1 --style-mix relu1_1:1,0 --style-mix relu2_1:1,0",
        ),
    ),
    "controls-scale": Sheet(
        "content.jpg strokes.jpg",
        ("--style-scale 0.5", "--style-scale 1", "--style-scale 2"),
    ),
    "controls-statistics": Sheet(
        "content.jpg strokes.jpg",
        (
            "--style-statistic covariance",
            "--style-statistic gram",
            "--style-statistic mean-deviation",
            "--style-statistic histogram",
            "--style-statistic sliced",
            "--style-distance wasserstein --style-weight 1",
        ),
    ),
    "controls-where": Sheet(
        "content.jpg",
        (
            "strokes.jpg --mask sky.png",
            "strokes.jpg hatching.jpg --mask sky.png --mask ground.png",
            "shapes.jpg strokes.jpg --mask sky.png --mask ground.png",
        ),
    ),
    "controls-transparency": Sheet(
        "cut-out.png strokes.jpg", ("--size 448", "--size 448 --style-weight 1.5")
    ),
    "controls-colour": Sheet(
        "content.jpg strokes.jpg",
        (
            "--colors style",
            "--colors content-luminance",
            "--colors linear",
            "--colors histogram",
            "--colors content-luminance --colors-when after",
            "--colors linear --colors-when after",
        ),
    ),
    "controls-look": Sheet(
        "content.jpg strokes.jpg",
        (
            "--pooling max",
            "--pooling avg",
            "--pooling avg-scaled",
            "--tv-weight 0",
            "--tv-weight 30",
            "--optimizer adam --average 0.9",
            "--init noise",
            "--init style",
            "--init style-colors",
        ),
    ),
    "controls-larger": Sheet(
        "content.jpg strokes.jpg",
        ("--scales 288", "--scales 144,288", "--scales 72,144,288"),
    ),
    "tips-faces": Sheet(
        "skimage:astronaut painting:kandinsky_composition_vii", ("", "--style-weight 2"), 2
    ),
    "tips-colors": Sheet(
        "skimage:coffee painting:great_wave_hokusai", ("", "--colors content-luminance"), 2
    ),
    "tips-strokes": Sheet(
        "skimage:chelsea painting:vg_wheat_field",
        ("--style-scale 0.7", "", "--style-scale 1.5"),
    ),
    "tips-grain": Sheet(
        "content.jpg strokes.jpg", ("--init noise --tv-weight 0", "--init noise --tv-weight 5"), 2
    ),
    "tips-blurred": Sheet("skimage:coffee painting:vg_wheat_field", ("--size 160", ""), 2),
    "tips-motif": Sheet(
        "content.jpg strokes.jpg", ("", "--style-weight 3", "--init style-colors --seed 1")
    ),
    "tips-sky": Sheet("content.jpg painting:starry_night_google", ("", "--mask sky.png"), 2),
}


def draw_inputs(folder: Path) -> None:
    """Draw masks of the example landscape, and cut its church out."""
    content = Image.open(EXAMPLES / "content.jpg")
    width, height = content.size
    skyline = ((0, 0.29), (0.1, 0.26), (0.18, 0.2), (0.25, 0.27), (0.42, 0.3), (0.55, 0.27))
    skyline += ((0.62, 0.33), (0.72, 0.33), (0.76, 0.18), (0.84, 0.05), (0.93, 0.02), (1, 0.1))
    sky = Image.new("L", content.size, 0)
    points = [(x * width, y * height) for x, y in skyline]
    ImageDraw.Draw(sky).polygon([(0, 0), *points, (width, 0)], fill=255)
    sky = sky.filter(ImageFilter.GaussianBlur(height / 100))
    sky.save(folder / "sky.png")
    Image.fromarray(255 - np.asarray(sky)).save(folder / "ground.png")
    hole = Image.new("L", content.size, 0)
    box = [0.05 * width, 0.1 * height, 0.65 * width, 0.95 * height]
    ImageDraw.Draw(hole).ellipse(box, fill=255)
    content.putalpha(hole.filter(ImageFilter.GaussianBlur(height / 200)))
    content.save(folder / "cut-out.png")


def file_of(word: str, folder: Path, data: Path | None) -> str:
    """Return the file of a picture, or a word that is none as it is."""
    if word.startswith(("skimage:", "painting:")):
        path = folder / f"{word.replace(':', '-')}.png"
        jaxnst.save_image(path, picture(word, data))
        return str(path)
    if word.endswith((".jpg", ".png")):
        return str(path if (path := EXAMPLES / word).exists() else folder / word)
    return word


def paint(folder: Path, pictures: str, cell: str, size: int, data: Path | None) -> np.ndarray:
    """Run one command line, and return its picture on white."""
    out = folder / "out.png"
    names = [file_of(word, folder, data) for word in shlex.split(f"{pictures} {cell}")]
    sized = names if "--size" in names else [*names, "--size", str(size)]
    if status := run_command(["run", *sized, "-o", str(out), "--quiet"]):
        raise SystemExit(f"{cell}: exit status {status}")
    return jaxnst.load_image(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("JAXNST_SHARED"))
    parser.add_argument("--only", nargs="*", choices=SHEETS, default=list(SHEETS))
    parser.add_argument("--size", type=int, default=288)
    arguments = parser.parse_args()
    data = None if arguments.data is None else Path(arguments.data)
    OUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw_inputs(folder)
        for sheet_name in arguments.only:
            sheet = SHEETS[sheet_name]
            cells = [
                (
                    cell.replace(" --", "\n--") or "default",
                    paint(folder, sheet.pictures, cell, arguments.size, data),
                )
                for cell in sheet.cells
            ]
            rows = [cells[i : i + sheet.across] for i in range(0, len(cells), sheet.across)]
            height = max(picture.shape[0] for _, picture in cells)
            jaxnst.save_image(
                OUT / f"{sheet_name}.jpg", contact_sheet(rows, height=height), quality=88
            )
            print(sheet_name)


if __name__ == "__main__":
    main()
