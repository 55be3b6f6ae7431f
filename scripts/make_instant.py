"""Make the sheet of docs/instant.md: pictures in one pass, beside optimised ones.

    python scripts/make_instant.py --data DIR [--standard SHEET]

Contents and styles are those of the gallery (``make_gallery.py``). With ``--standard``, the six
standard pairs of the shared folder DIR (default: JAXNST_SHARED) instead, to look at: their
photographs are not for publication.
"""

import argparse
import os
import time
from pathlib import Path

import numpy as np
from make_gallery import GALLERY, OUT, picture
from pictures import STANDARD_PAIRS, pair_paths

import jaxnst
from jaxnst.sheet import contact_sheet

PAIRS = ("landscape-starry-night", "astronaut-scream", "coffee-great-wave", "chelsea-wheat-field")
ALPHAS = (0.3, 0.6, 1.0)
SIZE = 384


def row(content: np.ndarray, style: np.ndarray, size: int) -> list[tuple[str, np.ndarray]]:
    """Paint a pair in one pass, at several strengths, and by optimisation."""
    cells = []
    for alpha in ALPHAS:
        found = jaxnst.instant(content, style, size=size, alpha=alpha)  # compiles, if need be
        begin = time.perf_counter()
        found = jaxnst.instant(content, style, size=size, alpha=alpha)
        seconds = time.perf_counter() - begin
        cells.append((f"alpha {alpha:g}\n{seconds:.1f} s", found))
    begin = time.perf_counter()
    found = jaxnst.stylize(content, style, size=size).image
    return [*cells, (f"optimised\n{time.perf_counter() - begin:.0f} s", found)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("JAXNST_SHARED"))
    parser.add_argument("--standard", type=Path, metavar="SHEET")
    parser.add_argument("--size", type=int, default=SIZE)
    arguments = parser.parse_args()
    data = None if arguments.data is None else Path(arguments.data)
    if arguments.standard is not None:
        if data is None:
            parser.error("--standard takes --data DIR (or JAXNST_SHARED)")
        paths = [pair_paths(data, pair) for pair in STANDARD_PAIRS]
        pairs = [tuple(map(jaxnst.load_image, both)) for both in paths]
    else:
        pairs = [tuple(picture(source, data) for source in GALLERY[name]) for name in PAIRS]
    rows = [row(*pair, arguments.size) for pair in pairs]
    sheet = contact_sheet(rows, height=max(cell.shape[0] for of in rows for _, cell in of))
    out = arguments.standard or OUT / "instant.jpg"
    jaxnst.save_image(out, sheet)
    print(out)


if __name__ == "__main__":
    main()
