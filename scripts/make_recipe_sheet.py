"""Run every recipe on the network that ships, for the sheet and the table of docs/recipes.md.

    python scripts/make_recipe_sheet.py --size 256

DenseNet169's and 201's recipes are left out: on ``vgg16-lite`` they are DenseNet121's.
"""

import argparse
from pathlib import Path

import jaxnst
from jaxnst.recipes import RECIPES, STAND_IN
from jaxnst.report.contact_sheet import contact_sheet

ROOT = Path(__file__).parents[1]
LEFT_OUT = ("keras-densenet169", "keras-densenet201")
IN_A_ROW = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--content", default=ROOT / "examples/content.jpg", type=Path)
    parser.add_argument("--style", default=ROOT / "examples/strokes.jpg", type=Path)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--only", nargs="*", default=list(RECIPES))
    parser.add_argument("-o", "--out", default=ROOT / "docs/pictures/recipes.jpg", type=Path)
    flags = parser.parse_args()

    content, style = jaxnst.load_image(flags.content), jaxnst.load_image(flags.style)
    network = jaxnst.load_network(STAND_IN)
    pictures = [("content", content), ("style", style)]
    print("| recipe | pixels | evaluations | seconds | of them waiting for programs |")
    print("|---|---|---|---|---|")
    for name in flags.only:
        if name in LEFT_OUT:
            continue
        result = jaxnst.stylize(content, style, network=network, recipe=name, size=flags.size)
        height, width, _ = result.image.shape
        waited, total = result.compile_seconds, result.compile_seconds + result.run_seconds
        print(
            f"| `{name}` | {width}x{height} | {result.evaluations} | {total:.0f} | {waited:.0f} |",
            flush=True,
        )
        jaxnst.save_image(flags.out.with_name(f"{flags.out.stem}-{name}.png"), result.image)
        pictures.append((f"{name}\n{total:.0f} s", result.image))
    rows = [pictures[i : i + IN_A_ROW] for i in range(0, len(pictures), IN_A_ROW)]
    jaxnst.save_image(flags.out, contact_sheet(rows, height=round(flags.size * 0.75)), quality=88)


if __name__ == "__main__":
    main()
