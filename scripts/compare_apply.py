"""Compare what a transformation network paints with optimization from the photograph.

    python scripts/compare_apply.py MODEL PAINTING PHOTOGRAPH ... [--sheet SHEET]

For each photograph: the loss that the network was trained with, of what it paints, and how many
evaluations of that loss `jaxnst-run`'s optimization takes, at one scale and from the photograph, to
paint a picture with less. Johnson et al. (2016, figure 5) found about 50 to 100 for theirs, against
L-BFGS in plain pixels: that is `--precondition 0`.
"""

import argparse
import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import jaxnst
from jaxnst.feedforward import Model, apply_model, load_model
from jaxnst.feedforward.perceptual import Frozen, PerceptualLoss, make_loss
from jaxnst.losses.objective import Targets, content_targets
from jaxnst.networks.color_space import encode
from jaxnst.report.contact_sheet import contact_sheet

EVALUATIONS = 200
EVERY = 5
SHOWN = (50, 100)


@partial(jax.jit, static_argnums=0)
def loss_of(
    loss: PerceptualLoss, frozen: Frozen, content: jax.Array, picture: jax.Array
) -> jax.Array:
    """Compute the loss of a picture, whoever painted it."""
    objective = loss.objective
    targets = Targets(content_targets(objective, frozen.network, content), frozen.style)
    return objective(encode(picture, objective.space), frozen.network, targets, frozen.numbers)[0]


def optimised(
    content: np.ndarray,
    style: np.ndarray,
    model: Model,
    precondition: float | None,
    measure: Callable[[np.ndarray], float],
) -> tuple[list[float], np.ndarray]:
    """Optimize, and return the loss after every few evaluations, and the last picture."""
    recipe = jaxnst.get_recipe(model.facts["recipe"])
    scales = dataclasses.replace(recipe.scales, several=False, steps=EVALUATIONS)
    solver = recipe.solver
    if precondition is not None:
        solver = dataclasses.replace(solver, precondition=precondition)
    found: dict[int, float] = {}

    def listen(progress: jaxnst.Progress) -> None:
        if progress.evaluations and progress.evaluations % EVERY == 0:
            found[progress.evaluations] = measure(progress.image())

    result = jaxnst.stylize(
        content,
        style,
        recipe=dataclasses.replace(recipe, init="content", scales=scales, solver=solver),
        size=max(content.shape[:2]),
        style_size=int(model.facts["style_size"]),
        callback=listen,
        every=EVERY,
    )
    found[EVALUATIONS] = measure(result.image)
    return [found[count] for count in sorted(found)], result.image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("model")
    parser.add_argument("painting", type=Path)
    parser.add_argument("photographs", type=Path, nargs="+")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--precondition", type=float, help="of L-BFGS; by default the recipe's")
    parser.add_argument("--sheet", type=Path)
    arguments = parser.parse_args()
    model, style = load_model(arguments.model), jaxnst.load_image(arguments.painting)
    recipe = jaxnst.get_recipe(model.facts["recipe"])
    network = jaxnst.load_network(model.facts["loss_network"])
    size = int(model.facts["style_size"])
    loss, frozen = make_loss(model.module, recipe, network, style, style_size=size)
    rows = []
    for path in arguments.photographs:
        content = jaxnst.load_image(path)
        longest = max(content.shape[:2])
        sides = [max(16, round(n * arguments.size / longest / 16) * 16) for n in content.shape[:2]]
        content = np.clip(jaxnst.resize(content, tuple(sides)), 0, 1)

        def measure(picture: np.ndarray, content: np.ndarray = content) -> float:
            return float(loss_of(loss, frozen, jnp.asarray(content), jnp.asarray(picture)))

        painted = np.asarray(apply_model(model, content))
        own = measure(painted)
        losses, image = optimised(content, style, model, arguments.precondition, measure)
        reached = [EVERY * (i + 1) for i, value in enumerate(losses) if value <= own]
        count = str(reached[0]) if reached else f"more than {EVALUATIONS}"
        print(f"{path.stem}: {own:.3f} in one pass; {count} evaluations to as much", end=" ")
        later = ", ".join(f"{losses[n // EVERY - 1]:.3f} after {n}" for n in SHOWN)
        print(f"({later})", flush=True)
        rows.append([("", content), ("one pass", painted), (f"{EVALUATIONS} evaluations", image)])
    if arguments.sheet:
        jaxnst.save_image(arguments.sheet, contact_sheet(rows, height=arguments.size))


if __name__ == "__main__":
    main()
