"""Make the pictures of README.md and docs/gallery.md, into docs/pictures/.

    python scripts/make_gallery.py --data DIR [--only NAME]

Contents are the rendered example and CC0 or public-domain photographs of scikit-image's data
module (extra ``gallery``; some are fetched by it through pooch on first use). Styles are the
rendered examples and, where the shared folder DIR (default: JAXNST_SHARED) is at hand, paintings
in the public domain. Only what comes out is committed.
"""

import argparse
import os
from pathlib import Path

import numpy as np

import jaxnst
from jaxnst.report.contact_sheet import contact_sheet

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "docs/pictures"

# name -> content, style: NAME of examples/, "skimage:NAME" or "painting:NAME"
GALLERY = {
    "landscape-strokes": ("content", "strokes"),
    "landscape-hatching": ("content", "hatching"),
    "landscape-shapes": ("content", "shapes"),
    "landscape-starry-night": ("content", "painting:starry_night_google"),
    "astronaut-scream": ("skimage:astronaut", "painting:the_scream"),
    "coffee-great-wave": ("skimage:coffee", "painting:great_wave_hokusai"),
    "chelsea-wheat-field": ("skimage:chelsea", "painting:vg_wheat_field"),
    "coffee-strokes": ("skimage:coffee", "strokes"),
}
README = ("landscape-strokes", "landscape-hatching", "landscape-shapes")


def picture(source: str, data: Path | None) -> np.ndarray:
    """Load one source as RGB in [0, 1]."""
    if source.startswith("skimage:"):
        from skimage import data as photographs

        image = getattr(photographs, source.removeprefix("skimage:"))()
        return np.asarray(image, np.float32)[..., :3] / 255
    if source.startswith("painting:"):
        if data is None:
            raise SystemExit(f"{source}: --data DIR (or JAXNST_SHARED) must name its folder")
        return jaxnst.load_image(data / f"pictures/style/{source.removeprefix('painting:')}.jpg")
    return jaxnst.load_image(ROOT / f"examples/{source}.jpg")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("JAXNST_SHARED"))
    parser.add_argument("--only", choices=GALLERY)
    parser.add_argument("--size", type=int, default=512)
    arguments = parser.parse_args()
    data = None if arguments.data is None else Path(arguments.data)
    OUT.mkdir(parents=True, exist_ok=True)
    for name, (content_source, style_source) in GALLERY.items():
        if arguments.only not in (None, name):
            continue
        content, style = picture(content_source, data), picture(style_source, data)
        result = jaxnst.stylize(content, style, size=arguments.size)
        jaxnst.save_image(OUT / f"{name}.jpg", result.image, quality=90)
        print(f"{name}: loss {result.losses['total'][-1]:.4f}, {result.restarts} restarts")
    if arguments.only is None:
        rows = [[("", picture("content", data))]]
        for name in README:
            style = picture(GALLERY[name][1], data)
            rows[0].append(("", style))
            rows[0].append(("", jaxnst.load_image(OUT / f"{name}.jpg")))
        jaxnst.save_image(OUT / "readme.jpg", contact_sheet(rows, height=240), quality=90)


if __name__ == "__main__":
    main()
