"""Compare our rounds of L-BFGS with SciPy's L-BFGS-B on one recipe, evaluation for evaluation.

Both start from the same image and follow the same compiled loss and gradient. SciPy runs as the
posts call it, ``fmin_l_bfgs_b(maxfun=20)`` again and again in float64; ours take as many
evaluations.

    python scripts/compare_scipy.py CONTENT STYLE --recipe keras-vgg19-tv --size 256
"""

import argparse
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import fmin_l_bfgs_b

import jaxnst
from jaxnst.networks.color_space import encode
from jaxnst.recipes import STAND_IN, get_recipe, recipe_on
from jaxnst.transfer.run import Run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("content")
    parser.add_argument("style")
    parser.add_argument("--recipe", default="keras-vgg19-tv")
    parser.add_argument("--network", default=STAND_IN)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=10)
    flags = parser.parse_args()

    network = jaxnst.load_network(flags.network)
    recipe = recipe_on(get_recipe(flags.recipe), network.name)
    content, style = jaxnst.load_image(flags.content), jaxnst.load_image(flags.style)
    theirs, evaluations = scipy_rounds(content, style, network, recipe, flags.size, flags.rounds)
    scales = replace(recipe.scales, evaluations=(evaluations[-1],))
    ours = jaxnst.stylize(
        content, style, network=network, recipe=replace(recipe, scales=scales), size=flags.size
    ).losses["total"]
    print(f"{'evaluations':>11} {'SciPy':>12} {'ours':>12} {'ours/SciPy':>10}")
    for loss, count in zip(theirs, evaluations, strict=True):
        best = ours[count - 1]
        print(f"{count:>11} {loss:>12.5g} {best:>12.5g} {best / loss:>10.4f}")


def scipy_rounds(content, style, network, recipe, size, rounds):  # type: ignore[no-untyped-def]
    """Losses after each round of SciPy's, and the evaluations until then."""
    run = Run(content, [style], network, recipe, size=size)
    params = run.tuned_parameters()
    scale = run.schedule.scales[-1]
    args = params, run.targets(params, scale), run.numbers
    evaluate = jax.jit(jax.value_and_grad(lambda x: run.objective(x, *args)[0]))
    start = encode(jnp.asarray(run.start_image()), recipe.space)
    losses, counts, used = [], [], 0

    def loss_and_gradient(x):  # type: ignore[no-untyped-def]
        value, grad = evaluate(jnp.asarray(x.reshape(start.shape), jnp.float32))
        return float(value), np.asarray(grad, np.float64).ravel()

    x = np.asarray(start, np.float64).ravel()
    for _ in range(rounds):
        x, value, facts = fmin_l_bfgs_b(loss_and_gradient, x, maxfun=20)
        if recipe.bounds is not None:
            x = np.clip(x, *recipe.bounds)
        used += facts["funcalls"]
        losses.append(value)
        counts.append(used)
    return losses, counts


if __name__ == "__main__":
    main()
