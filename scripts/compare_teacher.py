"""Compare ``vgg19-lite`` with its teacher on the six standard pairs: by eye, blindly, and by loss.

The same recipe runs with the teacher (encoder 5SE, read from the shared folder, never shipped)
and with ``vgg19-lite``. For every pair a sheet ``pair-N.png`` shows the two pictures as A and B,
in an order drawn from ``--seed``; ``key.json`` says which is which, for afterwards. The losses of
both final pictures are evaluated under the teachers: style under the recipe's covariance loss at
relu1_1 ... relu3_1 of the genuine VGG19 and relu4_1, relu5_1 of 5SE, content at 5SE's relu4_2.

    python scripts/compare_teacher.py --data DIR --out runs/teacher
"""

import argparse
import json
import os
import random
from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from pictures import STANDARD_PAIRS, pair_paths
from teachers import encoder_5se, genuine_vgg19

import jaxnst
from jaxnst.config import Content, Recipe, Style
from jaxnst.image import resample
from jaxnst.objective import (
    Targets,
    content_targets,
    make_numbers,
    make_objective,
    style_summaries,
    style_targets,
)
from jaxnst.sheet import contact_sheet

SHALLOW = ("relu1_1", "relu2_1", "relu3_1")
DEEP = ("relu4_1", "relu5_1")


def teacher_losses(picture, content, style, judges) -> tuple[float, float]:
    """Return style and content loss of a picture under the teachers, all weights 1."""
    style_loss = content_loss = 0.0
    size = picture.shape[:2]
    for network, layers in judges:
        recipe = Recipe(
            content=Content(
                weight=1.0, layers=(("relu4_2" if layers == DEEP else "relu1_1", 1.0),)
            ),
            style=Style(weight=1.0, layers=tuple((name, 0.2) for name in layers)),
        )
        objective = make_objective(replace(recipe, network=network.name), network)
        params = network.params
        smaller = resample(
            style, jaxnst.image.fit(style.shape[:2], min(max(size), max(style.shape)))
        )
        targets = Targets(
            content_targets(objective, params, jnp.asarray(resample(content, size))),
            style_targets(objective, [style_summaries(objective, params, jnp.asarray(smaller))]),
        )
        _, terms = objective(jnp.asarray(picture), params, targets, make_numbers(recipe))
        style_loss += float(terms[2])
        if layers == DEEP:
            content_loss = float(terms[1])
    return style_loss, content_loss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("JAXNST_SHARED"))
    parser.add_argument("--out", type=Path, default=Path("runs/teacher"))
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--recipe", default="default")
    parser.add_argument("--seed", type=int, default=None, help="of the order of A and B")
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("--data DIR (or JAXNST_SHARED) must name the folder of teachers and pictures")
    data, out = Path(arguments.data), arguments.out
    out.mkdir(parents=True, exist_ok=True)
    teacher = encoder_5se(data)
    networks = {"vgg19-lite": jaxnst.load_network("vgg19-lite"), "5SE": teacher}
    judges = ((genuine_vgg19(data), SHALLOW), (teacher, DEEP))
    order, key = random.Random(arguments.seed), {}
    print("| pair | network | style | content | seconds |\n|---|---|---|---|---|")
    for number, pair in enumerate(STANDARD_PAIRS, 1):
        content, style = (jaxnst.load_image(path) for path in pair_paths(data, pair))
        shown = []
        for name, network in networks.items():
            result = jaxnst.stylize(
                content, style, network=network, recipe=arguments.recipe, size=arguments.size
            )
            losses = teacher_losses(result.image, content, style, judges)
            print(
                f"| {' x '.join(pair)} | {name} | {losses[0]:.3f} | {losses[1]:.3f} "
                f"| {result.run_seconds + result.compile_seconds:.0f} |",
                flush=True,
            )
            jaxnst.save_image(out / f"{number}-{name}.png", result.image)
            shown.append((name, np.asarray(result.image)))
        order.shuffle(shown)
        key[f"pair-{number}"] = {"A": shown[0][0], "B": shown[1][0]}
        inputs = [("content", content), ("style", style)]
        labelled = [("A", shown[0][1]), ("B", shown[1][1])]
        sheet = contact_sheet([labelled, inputs], height=shown[0][1].shape[0])
        jaxnst.save_image(out / f"pair-{number}.png", sheet)
    (out / "key.json").write_text(json.dumps(key, indent=2))


if __name__ == "__main__":
    main()
