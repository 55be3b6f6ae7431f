"""The whole loss against a float64 composition, and what decides its program."""

import dataclasses
from functools import partial

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnst.losses.objective import (
    TERMS,
    make_loss_weights,
    make_objective,
    make_targets,
    style_summaries,
    style_targets,
)
from jaxnst.networks import PREPROCESSING
from jaxnst.networks.color_space import encode
from jaxnst.recipes.schema import Content, Space, Style, TotalVariation

SKEWED = Space(order="bgr", scale=255.0, mean=(104.0, 117.0, 124.0), deviation=(1.0, 2.0, 3.0))
CONTENT_PICTURE = helpers.picture(16, 24, seed=1)
STYLE_PICTURES = [helpers.picture(16, 24, seed=2), helpers.picture(20, 31, seed=3)]

RECIPES = {
    "default": helpers.tiny_recipe(),
    "style relative to the content's": helpers.tiny_recipe(
        style=Style(
            weight=7.0,
            layers=(("relu1_1", 0.2), ("relu2_1", 0.6)),
            statistic="gram",
            distance="mean",
            normalization="content",
        ),
    ),
    "gram sums": helpers.tiny_recipe(
        content=Content(
            weight=2.0, layers=(("relu2_1", 0.5), ("conv3_2", 2.0)), normalization="sum"
        ),
        style=Style(
            weight=1e3,
            layers=(("relu1_2", 0.3), ("pool2", 0.7)),
            statistic="gram",
            distance="gatys",
        ),
        tv=TotalVariation(weight=1e-3, kind="power"),
        space=SKEWED,
        pooling="avg",
        padding="reflect",
    ),
    "transport": helpers.tiny_recipe(
        content=Content(layers=(("relu3_1", 1.0),), normalization="mean"),
        style=Style(
            layers=(("relu1_1", 1.0), ("relu2_1", 0.5)),
            statistic="covariance",
            distance="wasserstein",
        ),
        tv=TotalVariation(weight=2.0, kind="diagonal"),
        padding="zero",
        first_padding="edge",
    ),
    "the picture's size in the style term": helpers.tiny_recipe(
        style=Style(
            layers=(("relu1_1", 0.5), ("relu2_1", 0.5)), statistic="gram", distance="keras"
        ),
        tv=TotalVariation(weight=1e-3, kind="sum"),
        space=Space(scale=255.0),
        preprocessing=Space(scale=255.0),
    ),
    "means and keras names": helpers.tiny_recipe(
        content=Content(layers=(("block3_conv1", 1.0),), normalization="mean"),
        style=Style(layers=(("block3_conv1", 1.0),), statistic="gram", distance="mean"),
        tv=TotalVariation(weight=2.0, chroma=3.0),
        space=PREPROCESSING["imagenet"],
    ),
}
PLAIN_NAMES = {"block3_conv1": "relu3_1"}


def renamed(recipe):
    """The recipe with our own layer names, for the reference."""

    def plain(term):
        layers = tuple((PLAIN_NAMES.get(n, n), w) for n, w in term.layers)
        return dataclasses.replace(term, layers=layers)

    return dataclasses.replace(recipe, content=plain(recipe.content), style=plain(recipe.style))


@pytest.fixture(scope="module")
def network():
    return helpers.tiny_network(PREPROCESSING["imagenet"])


@partial(jax.jit, static_argnums=0)
def targets_of(objective, params, content, styles, numbers):
    several = [style_summaries(objective, params, style) for style in styles]
    return make_targets(objective, params, content, style_targets(objective, several), numbers)


@partial(jax.jit, static_argnums=0)
def evaluate(objective, x, *args):
    """Loss, terms and gradient: one program for each objective."""
    return jax.value_and_grad(objective, has_aux=True)(x, *args)


def prepare(recipe, network, content=CONTENT_PICTURE, styles=STYLE_PICTURES):
    """Objective and the arguments that follow the image."""
    objective = make_objective(recipe, network)
    pictures = jnp.asarray(content), [jnp.asarray(style) for style in styles]
    numbers = make_loss_weights(recipe)
    targets = targets_of(objective, network.params, *pictures, numbers)
    return objective, (network.params, targets, numbers)


def start(recipe, seed=4):
    """A point of the recipe's space that is neither content nor style."""
    return jnp.asarray(helpers.encode(helpers.picture(16, 24, seed), recipe.space), jnp.float32)


# Value and gradient.


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("styles", [1, 2])
def test_the_loss_equals_float64(network, name, styles):
    recipe = RECIPES[name]
    objective, args = prepare(recipe, network, styles=STYLE_PICTURES[:styles])
    (total, terms), _ = evaluate(objective, start(recipe), *args)
    expected = helpers.total_loss(
        start(recipe), network, renamed(recipe), CONTENT_PICTURE, STYLE_PICTURES[:styles]
    )
    assert terms.shape == (len(TERMS),) and terms.dtype == total.dtype == jnp.float32
    np.testing.assert_allclose(terms, expected, rtol=1e-4)
    assert total == terms[0]
    np.testing.assert_allclose(terms[1:].sum(), total, rtol=1e-6)
    assert np.all(np.asarray(terms) > 0)


@pytest.mark.parametrize("name", RECIPES)
def test_the_gradient_equals_finite_differences(network, name):
    recipe, rng = RECIPES[name], np.random.default_rng(0)
    objective, args = prepare(recipe, network)
    x = start(recipe)
    _, grad = evaluate(objective, x, *args)
    direction = rng.normal(size=x.shape)

    def reference(x):
        return helpers.total_loss(x, network, renamed(recipe), CONTENT_PICTURE, STYLE_PICTURES)[0]

    expected = helpers.slope(reference, x, direction, 1e-6 * float(jnp.abs(x).max()))
    np.testing.assert_allclose(np.vdot(grad, direction), expected, rtol=1e-3)


@pytest.mark.parametrize("name", ["default", "transport"])
def test_second_derivatives_are_had_by_reverse_mode_alone(network, name):
    recipe, rng = RECIPES[name], np.random.default_rng(0)
    objective, args = prepare(recipe, network)
    x = start(recipe)
    direction = rng.normal(size=x.shape)

    def gradient(x):
        return jax.grad(objective, has_aux=True)(x, *args)[0]

    @jax.jit
    def curvature(x, v):
        return jnp.vdot(jax.vjp(gradient, x)[1](v)[0], v)

    def reference(x):
        return helpers.total_loss(x, network, renamed(recipe), CONTENT_PICTURE, STYLE_PICTURES)[0]

    step = 1e-5 * float(jnp.abs(x).max())
    ahead, here, behind = (reference(np.asarray(x) + s * step * direction) for s in (1, 0, -1))
    found = curvature(x, jnp.asarray(direction, jnp.float32))
    np.testing.assert_allclose(found, (ahead - 2 * here + behind) / step**2, rtol=1e-3)
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(gradient, (x,), (x,))


@pytest.mark.parametrize("styles", [STYLE_PICTURES, [CONTENT_PICTURE]])
def test_a_normalized_style_term_is_its_weight_at_the_content(network, styles):
    recipe = RECIPES["style relative to the content's"]
    objective, args = prepare(recipe, network, styles=styles)
    content = encode(jnp.asarray(CONTENT_PICTURE), recipe.space)
    (_, terms), grad = evaluate(objective, content, *args)
    expected = 0 if styles[0] is CONTENT_PICTURE else 7.0 * 0.8
    np.testing.assert_allclose(terms[TERMS.index("style")], expected, rtol=1e-4, atol=1e-6)
    assert np.all(np.isfinite(grad))


@pytest.mark.parametrize("weight", [0.0, 1e-12])
def test_normalization_takes_any_weight(network, weight):
    recipe = RECIPES["style relative to the content's"]
    recipe = dataclasses.replace(recipe, style=dataclasses.replace(recipe.style, weight=weight))
    objective, args = prepare(recipe, network)
    content = encode(jnp.asarray(CONTENT_PICTURE), recipe.space)
    (_, terms), _ = evaluate(objective, content, *args)
    np.testing.assert_allclose(terms[TERMS.index("style")], 0.8 * weight, rtol=1e-4)


@pytest.mark.parametrize("name", RECIPES)
def test_the_terms_are_zero_where_they_aim(network, name):
    """Content at the content, style at the style."""
    recipe = RECIPES[name]
    for picture, term in ((CONTENT_PICTURE, "content"), (STYLE_PICTURES[0], "style")):
        objective, args = prepare(recipe, network, content=CONTENT_PICTURE, styles=[picture])
        if term == "style":
            objective, args = prepare(recipe, network, content=picture, styles=[picture])
        point = jnp.asarray(helpers.encode(picture, recipe.space), jnp.float32)
        elsewhere = jnp.asarray(helpers.encode(picture[::-1] ** 2, recipe.space), jnp.float32)
        values = [evaluate(objective, x, *args)[0][1] for x in (point, elsewhere)]
        there, far = (terms[TERMS.index(term)] for terms in values)
        # Twelve steps towards a root leave its smallest eigenvalues unresolved.
        assert there < (1e-4 if name == "transport" else 1e-6) * far


@pytest.mark.parametrize("content", [0.0, 0.5])
def test_pictures_of_one_colour_have_finite_losses_and_gradients(network, content):
    recipe = RECIPES["default"]
    flat = np.full((16, 24, 3), content, np.float32)
    objective, args = prepare(recipe, network, flat, [np.full((16, 24, 3), 0.25, np.float32)])
    for x in (flat, helpers.picture(16, 24)):
        (total, terms), grad = evaluate(objective, jnp.asarray(x), *args)
        assert np.isfinite(total) and np.all(np.isfinite(terms)) and np.all(np.isfinite(grad))


def test_plain_compiled_and_mapped_agree(network):
    recipe = helpers.tiny_recipe(
        content=Content(layers=(("relu2_1", 1.0),)), style=Style(layers=(("relu1_1", 1.0),))
    )
    objective, args = prepare(recipe, network)
    xs = jnp.stack([start(recipe, seed) for seed in (4, 5)])
    one_by_one = [evaluate(objective, x, *args)[0][1] for x in xs]
    mapped = jax.jit(jax.vmap(lambda x: objective(x, *args)[1]))(xs)
    np.testing.assert_allclose(mapped, one_by_one, rtol=1e-4)
    np.testing.assert_allclose(objective(xs[0], *args)[1], one_by_one[0], rtol=1e-4)


def test_several_styles_are_mixed_before_the_statistic_is_formed(network):
    """The covariance of both pictures together, not the mean of two covariances."""
    objective = make_objective(RECIPES["default"], network)
    see = jax.jit(partial(style_summaries, objective, network.params))
    several = [see(jnp.asarray(style)) for style in STYLE_PICTURES]
    found = style_targets(objective, several)
    parameters = helpers.flat(network.params)
    features = [
        helpers.vgg_features(helpers.encode(s, network.preprocessing), parameters)
        for s in STYLE_PICTURES
    ]
    for name in objective.style_layers:
        expected = helpers.mixed_statistic([f[name] for f in features], "covariance")
        (target,) = found[name]
        np.testing.assert_allclose(target, expected, rtol=1e-4, atol=1e-5)
    first = jnp.tile(jnp.asarray([2.0, 0.0]), (len(objective.style_layers), 1, 1))
    weighted = style_targets(objective, several, mixture=first)
    for name, (target,) in style_targets(objective, several[:1]).items():
        np.testing.assert_allclose(weighted[name][0], target, rtol=1e-5, atol=1e-6)


# What is computed, and how often it is compiled.


def test_layers_are_looked_at_once(network):
    recipe = helpers.tiny_recipe(
        content=Content(layers=(("relu3_1", 1.0), ("relu2_1", 1.0))),
        style=Style(layers=(("block2_conv1", 1.0), ("relu1_1", 1.0))),
    )
    assert make_objective(recipe, network).layers == ("relu3_1", "relu2_1", "relu1_1")


def test_an_objective_is_equal_to_another_that_computes_the_same(network):
    recipe = RECIPES["default"]
    one = make_objective(recipe, network)
    retrained = helpers.tiny_network(PREPROCESSING["imagenet"], seed=9)
    numbers_changed = dataclasses.replace(
        recipe,
        name="other",
        content=dataclasses.replace(recipe.content, weight=5.0),
        style=dataclasses.replace(
            recipe.style, weight=0.0, layers=tuple((n, 9.0) for n, _ in recipe.style.layers)
        ),
        tv=dataclasses.replace(recipe.tv, weight=7.0, chroma=2.0),
    )
    for same in (make_objective(numbers_changed, network), make_objective(recipe, retrained)):
        assert same == one and hash(same) == hash(one)
    for part, change in (
        ("content", {"normalization": "sum"}),
        ("content", {"layers": (("relu2_1", 1.0),)}),
        ("style", {"statistic": "gram"}),
        ("style", {"distance": "mean"}),
        ("tv", {"kind": "power"}),
        ("space", {"scale": 2.0}),
    ):
        changed = dataclasses.replace(getattr(recipe, part), **change)
        assert make_objective(dataclasses.replace(recipe, **{part: changed}), network) != one
    assert make_objective(dataclasses.replace(recipe, pooling="avg"), network) != one


def test_changing_a_number_compiles_nothing(network):
    recipe = RECIPES["default"]
    objective, args = prepare(recipe, network)
    first = evaluate(objective, start(recipe), *args)[0][1]
    programs = evaluate._cache_size()
    changed = dataclasses.replace(
        recipe,
        content=dataclasses.replace(recipe.content, weight=3.0),
        style=dataclasses.replace(
            recipe.style, weight=1.0, layers=tuple((n, 0.1) for n, _ in recipe.style.layers)
        ),
        tv=dataclasses.replace(recipe.tv, weight=0.0, chroma=4.0),
    )
    objective, args = prepare(changed, network)
    second = evaluate(objective, start(recipe), *args)[0][1]
    assert evaluate._cache_size() == programs
    np.testing.assert_allclose(second[1], 3 * first[1], rtol=1e-5)
    assert second[3] == 0


def test_whole_numbers_are_numbers_too(network):
    """``Style(weight=1000000)`` is what people write; without types checked it gets here."""
    recipe = RECIPES["default"]
    whole = dataclasses.replace(recipe)
    for part, value in (("content", 1), ("style", 10**12), ("tv", 2)):
        term = dataclasses.replace(getattr(recipe, part))
        object.__setattr__(term, "weight", value)
        if part != "tv":
            object.__setattr__(term, "layers", tuple((n, 1) for n, _ in term.layers))
        object.__setattr__(whole, part, term)
    found, usual = make_loss_weights(whole), make_loss_weights(recipe)
    for f, u in zip(jax.tree.leaves(found), jax.tree.leaves(usual), strict=True):
        assert f.dtype == u.dtype == jnp.float32 and f.weak_type == u.weak_type
    assert found.style[0] == 1e12


@pytest.mark.parametrize("term", ["content", "style"])
def test_an_unknown_layer_is_refused_before_anything_is_computed(network, term):
    kind = {"content": Content, "style": Style}[term]
    recipe = helpers.tiny_recipe(**{term: kind(layers=(("relu9_1", 1.0),))})
    with pytest.raises(KeyError, match="relu9_1"):
        make_objective(recipe, network)


def test_an_unknown_distance_is_refused_with_what_there_is(network):
    recipe = helpers.tiny_recipe(style=Style(layers=(("relu1_1", 1.0),), distance="cosine"))
    with pytest.raises(ValueError, match=r"'cosine'.*target, mean, gatys"):
        make_objective(recipe, network)


def test_a_term_of_weight_nothing_needs_no_layers(network):
    recipe = helpers.tiny_recipe(style=Style(weight=0.0, layers=()), tv=TotalVariation(weight=0.0))
    objective, args = prepare(recipe, network)
    assert objective.layers == ("relu3_1",)
    (total, terms), _ = evaluate(objective, start(recipe), *args)
    assert terms[2] == 0 and total == terms[1] > 0


def test_an_unknown_statistic_is_refused_with_what_there_is(network):
    style = dataclasses.replace(helpers.tiny_recipe().style, statistic="palette")
    with pytest.raises(ValueError, match=r"'palette'.*gram, covariance"):
        make_objective(helpers.tiny_recipe(style=style), network)
