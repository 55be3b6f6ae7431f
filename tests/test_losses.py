"""Statistics and losses: analytic cases, float64 references, gradients, dtypes."""

from functools import cache, partial

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnst.distances import style_loss
from jaxnst.losses import (
    STATISTICS,
    Moments,
    content_loss,
    gram_matrix,
    mix_moments,
    moments,
    total_variation,
)

CONTENT = ["mean", "sum", "target"]
STYLE = ["gatys", "mean", "target", "elements", "sums", "rows", "keras"]
SIZES = {"positions": 63, "pixels": 252}
# Sums of some hundred float32 terms against float64.
CLOSE = {"rtol": 1e-5, "atol": 1e-6}


@pytest.fixture
def features(rng):
    """What a ReLU gives: half zeros, a mean that is not zero."""
    return jnp.asarray(np.maximum(rng.normal(0.3, 1, (7, 9, 5)), 0), jnp.float32)


@pytest.fixture
def target(rng):
    return jnp.asarray(np.maximum(rng.normal(0.1, 2, (7, 9, 5)), 0), jnp.float32)


def statistic(features, kind):
    return STATISTICS[kind](moments(features))


# Gram matrices and moments.


@pytest.mark.parametrize(
    ("normalization", "value"), [("sum", 20), ("positions", 1), ("elements", 1 / 3)]
)
def test_gram_of_ones(normalization, value):
    found = gram_matrix(jnp.ones((4, 5, 3)), normalization=normalization)
    np.testing.assert_allclose(found, np.full((3, 3), value), rtol=1e-6)


def test_gram_of_orthogonal_channels_is_diagonal():
    features = jnp.zeros((2, 2, 2)).at[0, 0, 0].set(2.0).at[1, 1, 1].set(3.0)
    np.testing.assert_array_equal(gram_matrix(features, normalization="sum"), [[4, 0], [0, 9]])


@pytest.mark.parametrize(
    ("normalization", "divisor"), [("sum", 1), ("positions", 63), ("elements", 315)]
)
def test_gram_equals_float64(features, normalization, divisor):
    expected = helpers.gram(features) / divisor
    np.testing.assert_allclose(
        gram_matrix(features, normalization=normalization), expected, **CLOSE
    )


def test_gram_is_symmetric_and_positive_semidefinite(features):
    gram = gram_matrix(features)
    np.testing.assert_array_equal(gram, gram.T)
    assert np.linalg.eigvalsh(np.asarray(gram, np.float64)).min() > -1e-6


def test_statistics_do_not_see_where_things_are(features, rng):
    shuffled = rng.permutation(np.asarray(features).reshape(-1, 5)).reshape(9, 7, 5)
    for kind in STATISTICS:
        found = statistic(jnp.asarray(shuffled), kind)
        np.testing.assert_allclose(found, statistic(features, kind), **CLOSE)
    np.testing.assert_allclose(gram_matrix(jnp.asarray(shuffled)), gram_matrix(features), **CLOSE)


def test_statistics_divided_by_positions_do_not_see_how_large_the_image_is(features):
    tiled = jnp.concatenate([features, features], axis=1)
    for kind in STATISTICS:
        np.testing.assert_allclose(statistic(tiled, kind), statistic(features, kind), **CLOSE)


@pytest.mark.parametrize("kind", list(STATISTICS))
def test_statistics_equal_float64(features, kind):
    expected = helpers.style_statistic(features, kind)
    found = statistic(features, kind)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, **CLOSE)


def test_covariance_of_one_colour_is_zero_with_the_colour_as_its_last_row():
    colour = jnp.asarray([0.5, 2.0, 0.0])
    found = statistic(jnp.broadcast_to(colour, (6, 4, 3)), "covariance")
    np.testing.assert_allclose(found, np.vstack([np.zeros((3, 3)), colour]), atol=1e-6)


def test_mixed_moments_are_those_of_all_pictures_together(features, target):
    together = jnp.concatenate([features, target], axis=1)
    mixed = mix_moments([moments(features), moments(target)])
    for found, expected in zip(mixed, moments(together), strict=True):
        np.testing.assert_allclose(found, expected, **CLOSE)


@pytest.mark.parametrize("kind", list(STATISTICS))
def test_mixing_takes_pictures_of_any_size_alike(features, rng, kind):
    large = jnp.asarray(rng.normal(size=(20, 30, 5)), jnp.float32)
    found = STATISTICS[kind](mix_moments([moments(features), moments(large)]))
    expected = helpers.mixed_statistic([features, large], kind)
    np.testing.assert_allclose(found, expected, **CLOSE)


def test_mixing_weights_are_normalised(features, target):
    one, other = moments(features), moments(target)
    mixed = mix_moments([one, other], weights=[3.0, 1.0])
    np.testing.assert_allclose(mixed.mean, 0.75 * one.mean + 0.25 * other.mean, **CLOSE)
    np.testing.assert_allclose(mixed.second, 0.75 * one.second + 0.25 * other.second, **CLOSE)
    for found, expected in zip(mix_moments([one, other], weights=[2.0, 0.0]), one, strict=True):
        np.testing.assert_allclose(found, expected, **CLOSE)
    for found, expected in zip(mix_moments([one]), one, strict=True):
        np.testing.assert_allclose(found, expected, **CLOSE)


# Content and style.


@pytest.mark.parametrize("normalization", CONTENT)
def test_content_loss_equals_float64(features, target, normalization):
    expected = helpers.content_loss(features, target, normalization)
    found = content_loss(features, target, normalization=normalization)
    np.testing.assert_allclose(found, expected, **CLOSE)
    assert content_loss(target, target, normalization=normalization) == 0


def test_content_loss_known_values():
    f, p = jnp.full((2, 3, 4), 3.0), jnp.full((2, 3, 4), 2.0)
    assert content_loss(f, p, normalization="sum") == 12
    assert content_loss(f, p, normalization="mean") == 1
    np.testing.assert_allclose(content_loss(f, p), 0.25, rtol=1e-4)


@pytest.mark.parametrize("distance", STYLE)
@pytest.mark.parametrize("kind", list(STATISTICS))
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
        for k in STATISTICS
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


def test_statistics_of_bfloat16_features_are_float32(features):
    half = features.astype(jnp.bfloat16)
    assert {a.dtype for a in moments(half)} == {jnp.dtype(jnp.float32)}
    assert gram_matrix(half).dtype == jnp.float32
    # The values are products of bfloat16 numbers, which float32 holds exactly.
    expected = helpers.gram(np.asarray(half, np.float64))
    np.testing.assert_allclose(gram_matrix(half, normalization="sum"), expected, rtol=1e-5)


def test_moments_compiled_and_mapped_equal_plain(features, target):
    both = jnp.stack([features, target])
    mapped = jax.jit(jax.vmap(moments))(both)
    for i, plain in enumerate((moments(features), moments(target))):
        assert isinstance(plain, Moments)
        np.testing.assert_allclose(mapped.mean[i], plain.mean, **CLOSE)
        np.testing.assert_allclose(mapped.second[i], plain.second, **CLOSE)
    np.testing.assert_allclose(jax.jit(gram_matrix)(features), gram_matrix(features), **CLOSE)
