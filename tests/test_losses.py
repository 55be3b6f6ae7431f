"""Losses: analytic cases, float64 references, gradients, dtypes."""

from functools import cache, partial

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnst.losses.distances import style_loss
from jaxnst.losses.statistics import get_statistic
from jaxnst.losses.terms import content_loss, total_variation

CONTENT = ["mean", "sum", "target"]
STYLE = ["gatys", "mean", "target", "elements", "sums", "rows", "keras"]
SIZES = {"positions": 63, "pixels": 252}
# Sums of some hundred float32 terms against float64.
CLOSE = {"rtol": 1e-5, "atol": 1e-6}


def statistic(features, kind):
    return get_statistic(kind)(features)


# Content and style.


@pytest.mark.parametrize("normalization", CONTENT)
def test_content_loss_equals_float64(features, target, normalization):
    expected = helpers.content_loss(features, target, normalization)
    found = content_loss(features, target, normalization=normalization)
    np.testing.assert_allclose(found, expected, **CLOSE)
    assert content_loss(target, target, normalization=normalization) == 0


@pytest.mark.parametrize("normalization", CONTENT)
def test_content_loss_with_weights_is_that_of_the_positions_that_count(
    features, target, normalization
):
    weights = jnp.zeros((7, 9)).at[:, :6].set(1 / 42)
    found = content_loss(features, target, normalization=normalization, weights=weights)
    expected = helpers.content_loss(features[:, :6], target[:, :6], normalization)
    factor = 63 / 42 if normalization == "sum" else 1  # a sum over as many elements as before
    np.testing.assert_allclose(found, factor * expected, **CLOSE)


def test_content_loss_known_values():
    f, p = jnp.full((2, 3, 4), 3.0), jnp.full((2, 3, 4), 2.0)
    assert content_loss(f, p, normalization="sum") == 12
    assert content_loss(f, p, normalization="mean") == 1
    np.testing.assert_allclose(content_loss(f, p), 0.25, rtol=1e-4)


@pytest.mark.parametrize("distance", STYLE)
@pytest.mark.parametrize("kind", ["gram", "covariance"])
def test_style_loss_equals_float64(features, target, kind, distance):
    pair = [helpers.style_statistic(f, kind) for f in (features, target)]
    expected = helpers.style_loss(*pair, distance, **SIZES)
    wanted = statistic(target, kind)
    found = style_loss(statistic(features, kind), wanted, distance=distance, **SIZES)
    np.testing.assert_allclose(found, expected, **CLOSE)
    assert style_loss(wanted, wanted, distance=distance, **SIZES) == 0


def test_style_loss_gatys_is_the_paper_s_equation(features, target):
    """Sum over i, j of (G_ij - A_ij)^2 / (4 N^2 M^2), with N filters and M positions."""
    squared = np.sum((helpers.gram(features) - helpers.gram(target)) ** 2)
    n, m = 5, 7 * 9
    found = style_loss(statistic(features, "gram"), statistic(target, "gram"), distance="gatys")
    np.testing.assert_allclose(found, squared / (4 * n**2 * m**2), rtol=1e-5)


def test_relative_losses_do_not_see_the_scale_of_the_features(features, target):
    once = content_loss(features, target), _relative_style(features, target)
    scaled = content_loss(7 * features, 7 * target), _relative_style(7 * features, 7 * target)
    np.testing.assert_allclose(scaled, once, rtol=1e-3)  # what the epsilon allows


def _relative_style(features, target):
    return style_loss(statistic(features, "gram"), statistic(target, "gram"))


# Total variation.


def checkerboard(height, width):
    board = np.indices((height, width)).sum(0) % 2
    return jnp.asarray(np.repeat(board[..., None], 3, axis=-1), jnp.float32)


@pytest.mark.parametrize("kind", ["squared", "sum", "power", "diagonal"])
def test_tv_of_one_colour_is_zero_and_so_is_its_gradient(kind):
    flat = jnp.full((5, 6, 3), 0.3)
    value, grad = jax.value_and_grad(partial(total_variation, kind=kind))(flat)
    assert value == 0
    np.testing.assert_array_equal(grad, np.zeros((5, 6, 3)))


@pytest.mark.parametrize("kind", ["squared", "sum", "power", "diagonal"])
@pytest.mark.parametrize("shape", [(1, 8, 3), (8, 1, 3), (1, 1, 3)])
def test_tv_of_a_line_of_one_colour_is_zero(kind, shape):
    assert total_variation(jnp.full(shape, 0.5), kind=kind) == 0


@pytest.mark.parametrize("shape", [(1, 8, 3), (8, 1, 3)])
def test_tv_of_a_line_is_that_of_its_direction(shape):
    ramp = jnp.broadcast_to(jnp.linspace(0, 1, 8).reshape(*shape[:2], 1), shape)
    assert total_variation(ramp, kind="squared") == pytest.approx((1 / 7) ** 2, 1e-5)


def test_tv_of_a_checkerboard():
    board = checkerboard(5, 7)
    np.testing.assert_allclose(total_variation(board), 2, rtol=1e-6)
    expected = 3 * 4 * 6 * 2**1.25
    np.testing.assert_allclose(total_variation(board, kind="power"), expected, rtol=1e-6)


def test_tv_of_a_ramp_counts_one_direction():
    ramp = jnp.broadcast_to(jnp.arange(6.0)[None, :, None], (4, 6, 3))
    np.testing.assert_allclose(total_variation(ramp), 1, rtol=1e-6)
    np.testing.assert_allclose(total_variation(jnp.swapaxes(ramp, 0, 1)), 1, rtol=1e-6)


@pytest.mark.parametrize("chroma", [0.0, 1.0, 4.0])
def test_tv_equals_float64(rng, chroma):
    image = jnp.asarray(rng.normal(size=(6, 8, 3)), jnp.float32)
    expected = helpers.total_variation(image, chroma=chroma)
    np.testing.assert_allclose(total_variation(image, chroma=chroma), expected, rtol=1e-5)


@pytest.mark.parametrize("kind", ["sum", "power", "diagonal"])
def test_tv_of_other_kinds_equals_float64(rng, kind):
    image = jnp.asarray(rng.normal(size=(6, 8, 3)), jnp.float32)
    expected = helpers.total_variation(image, kind)
    np.testing.assert_allclose(total_variation(image, kind=kind), expected, rtol=1e-5)


def test_tv_chroma_of_one_is_plain_and_grey_pictures_have_none(rng):
    image = rng.normal(size=(6, 8, 3))
    plain = sum(np.mean(np.diff(image, axis=a) ** 2) for a in (0, 1))
    image = jnp.asarray(image, jnp.float32)
    np.testing.assert_allclose(total_variation(image, chroma=1.0), plain, rtol=1e-5)
    grey = jnp.repeat(image[..., :1], 3, axis=-1)
    values = [total_variation(grey, chroma=c) for c in (0.0, 1.0, 100.0)]
    np.testing.assert_allclose(values, np.full(3, values[1]), rtol=1e-4)


# What holds for every loss: gradients, dtypes, blank pictures, vmap, jit.


def _whole(kind, distance, image, target):
    """Style loss of a feature map, for tests that take a function of one array."""
    pair = statistic(image, kind), statistic(target, kind)
    return style_loss(*pair, distance=distance, **SIZES)


LOSSES = {
    **{
        f"content-{n}": (
            partial(content_loss, normalization=n),
            partial(helpers.content_loss, normalization=n),
        )
        for n in CONTENT
    },
    **{
        f"style-{k}-{n}": (
            partial(_whole, k, n),
            lambda f, t, k=k, n=n: helpers.style_loss(
                helpers.style_statistic(f, k), helpers.style_statistic(t, k), n, **SIZES
            ),
        )
        for k in ("gram", "covariance")
        for n in STYLE
    },
    **{
        f"tv-{kind}-{chroma}": (
            lambda x, _, kind=kind, c=chroma: total_variation(x, kind=kind, chroma=c),
            lambda x, _, kind=kind, c=chroma: helpers.total_variation(x, kind, c),
        )
        for kind, chroma in (
            *(("squared", 1.0), ("squared", 3.0), ("power", 1.0), ("sum", 1.0), ("diagonal", 1.0)),
        )
    },
}


@cache
def value_and_grad(loss):
    """One program for each loss."""
    return jax.jit(jax.value_and_grad(loss))


loss_pairs = pytest.mark.parametrize(("loss", "reference"), LOSSES.values(), ids=LOSSES)


@loss_pairs
def test_gradients_equal_finite_differences(rng, loss, reference):
    x, target, direction = rng.normal(size=(3, 5, 6, 3))
    single = [jnp.asarray(a, jnp.float32) for a in (x, target)]
    _, grad = value_and_grad(loss)(*single)
    expected = helpers.slope(lambda x: reference(x, np.asarray(single[1])), single[0], direction)
    np.testing.assert_allclose(np.vdot(grad, direction), expected, rtol=1e-4, atol=1e-7)


@loss_pairs
def test_bfloat16_features_give_float32_losses(rng, loss, reference):
    x, target = jnp.asarray(rng.normal(size=(2, 5, 6, 3)), jnp.bfloat16)
    found = loss(x, target)
    assert found.dtype == jnp.float32 and found.shape == ()
    expected = reference(np.asarray(x, np.float64), np.asarray(target, np.float64))
    # bfloat16 keeps 8 bits; differences are rounded to it before they are squared.
    np.testing.assert_allclose(found, expected, rtol=2e-2)


@loss_pairs
def test_compiled_and_mapped_equal_plain(rng, loss, reference):
    xs, targets = jnp.asarray(rng.normal(size=(2, 3, 5, 6, 3)), jnp.float32)
    one_by_one = [loss(x, t) for x, t in zip(xs, targets, strict=True)]
    np.testing.assert_allclose(jax.jit(jax.vmap(loss))(xs, targets), one_by_one, **CLOSE)
    value, _ = value_and_grad(loss)(xs[0], targets[0])
    np.testing.assert_allclose(value, one_by_one[0], **CLOSE)


@loss_pairs
@pytest.mark.parametrize("colour", [0.0, 0.5])
def test_blank_targets_and_blank_images_are_finite(rng, loss, reference, colour):
    blank = jnp.full((5, 6, 3), colour)
    noise = jnp.asarray(rng.normal(size=(5, 6, 3)), jnp.float32)
    for x, target in ((blank, blank), (noise, blank), (blank, noise)):
        value, grad = value_and_grad(loss)(x, target)
        assert np.isfinite(value) and np.all(np.isfinite(grad))


@pytest.mark.parametrize("kind", ["squared", "sum", "power", "diagonal"])
def test_total_variation_of_what_counts(rng, kind):
    image = jnp.asarray(rng.uniform(size=(8, 10, 3)), jnp.float32)
    inside = jnp.zeros((8, 10)).at[2:7, 3:].set(1.0)

    def loss(x, inside=inside):
        return total_variation(x, kind=kind, inside=inside)

    other = image.at[:, :3].set(0.9).at[:2].set(-5.0).at[7:].set(2.0)
    assert loss(image) == loss(other) > 0
    grad = np.asarray(jax.grad(loss)(image))
    assert np.all(grad[np.asarray(inside) == 0] == 0) and np.any(grad)
    if kind != "diagonal":  # which repeats the border of the whole picture alone
        crop = total_variation(image[2:7, 3:], kind=kind)
        np.testing.assert_allclose(loss(image), crop, rtol=1e-5)
    whole = total_variation(image, kind=kind)
    np.testing.assert_allclose(loss(image, jnp.ones((8, 10))), whole, rtol=1e-5)
    assert loss(image, jnp.zeros((8, 10))) == 0
