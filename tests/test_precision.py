"""What float32, tf32 and bfloat16 mean: in programs, in dtypes, in losses and in pictures."""

import inspect
import re
from functools import partial

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
from jaxnst.losses.statistics import gram_matrix, moments
from jaxnst.losses.terms import content_loss
from jaxnst.networks import PREPROCESSING, extract_features, init_network
from jaxnst.networks.layers import conv, strided_conv
from jaxnst.optim.solvers import advance, make_solver, start
from jaxnst.recipes.schema import Scales, Style
from jaxnst.transfer.run import Run
from jaxnst.transfer.stylize import stylize

CONTENT, STYLE = helpers.picture(32, 48, seed=1), helpers.picture(40, 32, seed=2)
JAX_NAMES = {"float32": "HIGHEST", "tf32": "HIGH", "bfloat16": "DEFAULT"}
BFLOAT16 = 2.0**-8
"""Relative distance of neighboring numbers, at most."""


@pytest.fixture(scope="module")
def network():
    return helpers.tiny_network(PREPROCESSING["imagenet"])


@partial(jax.jit, static_argnums=0)
def make_targets(objective, params, content, style):
    styles = style_targets(objective, [style_summaries(objective, params, style)])
    return Targets(content_targets(objective, params, content), styles)


def loss_of(recipe, network):
    """A recipe's loss with its arguments."""
    objective = make_objective(recipe, network)
    params = objective.network.in_precision(network.params)
    targets = make_targets(objective, params, jnp.asarray(CONTENT), jnp.asarray(STYLE))
    return objective, (params, targets, make_loss_weights(recipe))


def evaluate(recipe, network, x):
    objective, args = loss_of(recipe, network)
    (_, terms), grad = jax.jit(jax.value_and_grad(objective, has_aux=True))(x, *args)
    return np.asarray(terms), np.asarray(grad)


def precisions(text, operation):
    """The precision of every such operation of a program, in the order of the text."""
    found = []
    for line in text.splitlines():
        if f"stablehlo.{operation}" in line:
            said = re.search(r"precision(?:_config)? = \[(?:#stablehlo<precision )?(\w+)", line)
            found.append(said[1] if said else "DEFAULT")
    return found


# Programs.


@pytest.mark.parametrize("precision", JAX_NAMES)
def test_convolutions_and_gram_matrices_say_it_in_both_passes(network, precision):
    recipe = helpers.tiny_recipe()
    objective, args = loss_of(recipe, network.configure(precision=precision))
    program = jax.jit(jax.grad(objective, has_aux=True)).lower(jnp.asarray(CONTENT), *args)
    text = program.as_text()
    convolutions = precisions(text, "convolution")
    assert len(convolutions) == 2 * 5 and set(convolutions) == {JAX_NAMES[precision]}
    # A Gram matrix and its gradient for each of three layers; layers' weights times losses, two
    # terms with their gradients, are always exact.
    products = precisions(text, "dot_general")
    assert products.count(JAX_NAMES[precision]) >= 6
    assert set(products) == {JAX_NAMES[precision], "HIGHEST"}


@pytest.mark.parametrize("precision", JAX_NAMES)
def test_roots_of_matrices_are_exact_whatever_the_network_is(network, precision):
    style = Style(layers=(("relu1_1", 1.0),), statistic="covariance", distance="wasserstein")
    recipe = helpers.tiny_recipe(style=style)
    objective, (params, _, _) = loss_of(recipe, network.configure(precision=precision))

    def target(params, style):
        return style_targets(objective, [style_summaries(objective, params, style)])

    text = jax.jit(target).lower(params, jnp.asarray(STYLE)).as_text()
    products = precisions(text, "dot_general")
    # One of feature maps, the others of the Newton-Schulz step.
    assert sorted(products) == sorted([JAX_NAMES[precision], "HIGHEST", "HIGHEST", "HIGHEST"])


def test_parameters_are_rounded_before_the_loop_and_not_in_it(network):
    recipe = helpers.tiny_recipe()
    run = Run(CONTENT, [STYLE], network.configure(precision="bfloat16"), recipe)
    params = run.tuned_parameters()
    targets = run.targets(params, run.schedule.scales[0])
    method, rates = make_solver(recipe)
    x = jnp.zeros((*run.schedule.scales[0].inner, 3))
    state = start(method, x, len(TERMS))
    count = jnp.asarray(1)
    args = (params, targets, run.numbers)
    text = advance.lower(run.objective, method, args, rates, state, count, count).as_text()
    assert "tensor<3x3x4x6xbf16>" in text and "tensor<3x3x4x6xf32>" not in text
    memory = jax.tree.leaves(state.solver)
    assert {leaf.dtype for leaf in memory if jnp.issubdtype(leaf.dtype, jnp.floating)} == {
        jnp.dtype(jnp.float32)
    }


# Dtypes.


@pytest.mark.parametrize("channels", [3, 8])
@pytest.mark.parametrize(
    "convolve", [conv, lambda *a, **k: strided_conv(*a, margin=1, **k)], ids=["plain", "strided"]
)
def test_convolutions_take_and_give_sixteen_bits_in_both_passes(rng, convolve, channels):
    args = [
        jnp.asarray(rng.normal(size=shape), jnp.bfloat16)
        for shape in ((9, 12, channels), (3, 3, channels, 5), (5,))
    ]
    wide = [a.astype(jnp.float32) for a in args]
    weights = jnp.asarray(rng.normal(size=convolve(*wide).shape), jnp.float32)

    def loss(*args, precision):
        return jnp.sum(weights * convolve(*args, precision=precision))

    assert convolve(*args, precision="bfloat16").dtype == jnp.bfloat16
    found = jax.grad(loss, (0, 1, 2))(*args, precision="bfloat16")
    expected = jax.grad(loss, (0, 1, 2))(*wide, precision="float32")
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == jnp.bfloat16
        error = np.linalg.norm(np.asarray(one, float) - other) / np.linalg.norm(other)
        assert error < 5 * BFLOAT16


@pytest.mark.parametrize("name", ["vgg16-lite", "densenet121", "squeezenet1.1"])
def test_every_family_keeps_its_maps_in_sixteen_bits(name):
    network = init_network(name).configure(precision="bfloat16")
    image = jax.ShapeDtypeStruct((48, 48, 3), jnp.float32)
    found = jax.eval_shape(
        lambda p, x: network.features(p, x, network.layers[:12]), network.params, image
    )
    assert {f.dtype for f in found.values()} == {jnp.dtype(jnp.bfloat16)}
    rounded = network.in_precision(network.params)
    assert rounded.keys() == network.params.keys()
    for arrays in rounded.values():
        for part, values in arrays.items():
            assert values.dtype == (jnp.bfloat16 if part in ("kernel", "bias") else jnp.float32)


def test_rounding_parameters_beforehand_changes_nothing(network):
    low = network.configure(precision="bfloat16")
    once = extract_features(low, jnp.asarray(CONTENT), ["relu3_2"])["relu3_2"]
    params = low.in_precision(low.params)
    twice = jax.jit(lambda p, x: low.features(p, x, ("relu3_2",)))(params, jnp.asarray(CONTENT))
    np.testing.assert_array_equal(once, twice["relu3_2"])


def test_statistics_and_losses_of_sixteen_bits_are_summed_in_float32(rng):
    narrow, other = (jnp.asarray(rng.normal(size=(40, 50, 4)), jnp.bfloat16) for _ in range(2))
    wide = [np.asarray(f, np.float64) for f in (narrow, other)]
    gram = gram_matrix(narrow, precision="bfloat16")
    assert gram.dtype == jnp.float32
    np.testing.assert_allclose(gram, helpers.gram(wide[0]) / 2000, rtol=1e-4, atol=1e-4)
    for found in moments(narrow, precision="bfloat16"):
        assert found.dtype == jnp.float32
    loss = content_loss(narrow, other)
    assert loss.dtype == jnp.float32
    np.testing.assert_allclose(loss, helpers.content_loss(*wide, "target"), rtol=1e-5)


# Numbers and pictures.


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="GPUs round products in tf32")
def test_tf32_is_float32_on_a_cpu(network):
    recipe, x = helpers.tiny_recipe(), jnp.asarray(helpers.picture(32, 48, seed=4))
    several = [evaluate(recipe, network.configure(precision=p), x) for p in ("float32", "tf32")]
    for found, expected in zip(*several, strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("statistic", ["gram", "covariance"])
def test_losses_and_gradients_in_sixteen_bits_are_close(network, statistic):
    layers = helpers.tiny_recipe().style.layers
    recipe = helpers.tiny_recipe(style=Style(layers=layers, statistic=statistic))
    x = jnp.asarray(helpers.picture(32, 48, seed=4))
    low, slope = evaluate(recipe, network.configure(precision="bfloat16"), x)
    exact, expected = evaluate(recipe, network, x)
    assert low.dtype == slope.dtype == np.float32
    assert not np.array_equal(low, exact)
    np.testing.assert_allclose(low, exact, rtol=0.02)
    cosine = np.vdot(slope, expected) / np.linalg.norm(slope) / np.linalg.norm(expected)
    assert cosine > 0.99


def test_a_picture_in_sixteen_bits_is_close(network):
    recipe = helpers.tiny_recipe(scales=Scales(several=False, evaluations=(12,)))
    run = {
        p: stylize(CONTENT, STYLE, network=network, recipe=recipe, size=48, precision=p)
        for p in ("float32", "bfloat16")
    }
    exact, low = run["float32"].image, run["bfloat16"].image
    assert low.dtype == np.float32 and low.shape == exact.shape
    moved = np.abs(exact - CONTENT).mean()
    assert 0 < np.abs(low - exact).mean() < moved / 3


def test_an_unknown_precision_is_refused(network):
    message = "precision is 'float16', expected one of float32, tf32, bfloat16"
    plain = inspect.unwrap(type(network).configure)  # beneath pytest's own check of types
    with pytest.raises(ValueError, match=message):
        plain(network, precision="float16")


def test_precision_is_part_of_a_network(network):
    low = network.configure(precision="bfloat16")
    assert low != network and low.params is network.params
    assert low.configure(pooling="avg").precision == "bfloat16"
    assert network.precision == "float32" and network.configure(precision="float32") == network
