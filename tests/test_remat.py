"""Recomputing blocks for the gradient: the same loss, nearly the same gradient, less memory."""

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnst.losses.objective import (
    TERMS,
    Targets,
    content_targets,
    make_loss_weights,
    make_objective,
    style_summaries,
    style_targets,
)
from jaxnst.networks.registry import init_network
from jaxnst.optim.solvers import advance, make_solver, start
from jaxnst.recipes.schema import Content, Solver, Space, Style

DENSE = helpers.tiny_recipe(
    content=Content(layers=(("conv2_block2_concat", 1.0),)),
    style=Style(layers=(("conv1_relu", 1.0), ("pool1", 1.0), ("conv2_block1_1_conv", 1.0))),
)
SQUEEZED = helpers.tiny_recipe(
    content=Content(layers=(("fire4_relu_expand3x3", 1.0),)),
    style=Style(layers=(("relu_conv1", 1.0), ("fire2_concat", 1.0), ("fire6_concat", 1.0))),
)


def case(name):
    """A network with a recipe for it; the layers that are looked at lie all over the blocks."""
    if name == "vgg":
        recipe = helpers.tiny_recipe(content=Content(layers=(("relu2_1", 1.0), ("conv3_1", 2.0))))
        return helpers.tiny_network(Space()), recipe
    if name == "densenet":
        return init_network("densenet121"), DENSE
    return init_network("squeezenet1.1"), SQUEEZED


def arguments(network, recipe, size):
    objective = make_objective(recipe, network)
    image, content, style = (jnp.asarray(helpers.picture(*size, seed)) for seed in range(3))
    targets = Targets(
        content_targets(objective, network.params, content),
        style_targets(objective, [style_summaries(objective, network.params, style)]),
    )
    return image, (network.params, targets, make_loss_weights(recipe))


@pytest.mark.parametrize("name", ["vgg", "densenet", "squeezenet"])
def test_loss_and_gradient_are_the_same(name):
    network, recipe = case(name)
    image, args = arguments(network, recipe, (48, 64))
    found = {}
    for remat in (False, True):
        objective = make_objective(recipe, network, remat=remat)
        found[remat] = jax.jit(jax.value_and_grad(objective, has_aux=True))(image, *args)
    (_, plain), plain_grad = found[False]
    (_, terms), grad = found[True]
    np.testing.assert_allclose(terms, plain, rtol=2e-6)
    scale = jnp.abs(plain_grad).max()
    assert scale > 0
    np.testing.assert_allclose(grad / scale, plain_grad / scale, atol=1e-5)


def test_side_by_side_as_alone():
    network, recipe = case("vgg")
    image, args = arguments(network, recipe, (32, 48))
    several = jnp.stack([image, image[::-1]])
    objective = make_objective(recipe, network, remat=True)
    gradient = jax.grad(lambda image: objective(image, *args)[0])
    found = jax.jit(jax.vmap(gradient))(several)
    for alone, together in zip(several, found, strict=True):
        np.testing.assert_allclose(together, jax.jit(gradient)(alone), rtol=1e-3, atol=1e-7)


def test_a_loss_that_is_not_finite_gives_no_finite_gradient():
    network, recipe = case("vgg")
    image, args = arguments(network, recipe, (32, 48))
    objective = make_objective(recipe, network, remat=True)
    gradient = jax.jit(jax.grad(objective, has_aux=True))
    grad, _ = gradient(image.at[3, 5].set(jnp.nan), *args)
    assert not jnp.all(jnp.isfinite(grad))


@pytest.mark.parametrize("network", ["vgg", "densenet", "squeezenet"])
def test_a_network_goes_on_from_each_of_its_cuts(network):
    network, _ = case(network)
    image = jnp.asarray(helpers.picture(64, 64))
    module, variables = network.module, {"params": network.params}
    cuts = [cut for cut in module.cuts() if cut != network.layers[-1]][:8]
    last = network.layers[min(len(network.layers) - 1, network.layers.index(cuts[-1]) + 1)]
    maps = jax.jit(module.apply, static_argnums=2)(variables, image, (*cuts, last))
    for cut in cuts:
        found = module.apply(variables, maps[cut], (last,), cut)[last]
        np.testing.assert_allclose(found, maps[last], rtol=1e-4, atol=1e-4)


def test_the_compiled_loop_needs_less_memory():
    """Where it counts: XLA could see through the recomputation and keep everything after all."""
    network = helpers.tiny_network(Space(), blocks=((16,) * 2, (32,) * 4, (64,) * 4))
    recipe = helpers.tiny_recipe(solver=Solver(kind="adam"))
    image, args = arguments(network, recipe, (128, 128))
    method, rates = make_solver(recipe)
    state = start(method, image, len(TERMS))
    count, needed = jnp.asarray(1), {}
    for remat in (False, True):
        objective = make_objective(recipe, network, remat=remat)
        program = advance.lower(objective, method, args, rates, state, count, count).compile()
        needed[remat] = program.memory_analysis().temp_size_in_bytes
    assert needed[True] < 0.8 * needed[False]
