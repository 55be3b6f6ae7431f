"""Statistics of feature maps: analytic cases, float64 references, gradients, weights, dtypes."""

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnst
from jaxnst.losses.statistics import (
    QUANTILES,
    STATISTICS,
    Moments,
    get_statistic,
    gram_matrix,
    mix,
    moments,
    quantile_means,
    register_statistic,
)

# Sums of some hundred float32 terms against float64.
CLOSE = {"rtol": 1e-5, "atol": 1e-6}
# Differences of sums, times the number of shares.
ROUGH = {"rtol": 1e-4, "atol": 3e-4}
OF_MOMENTS = ["gram", "covariance", "mean-deviation"]
OF_VALUES = ["histogram", "sliced"]
OURS = OF_MOMENTS + OF_VALUES  # others may be registered while tests run


def statistic(features, kind, **more):
    return get_statistic(kind)(features, **more)


def exact_quantile_means(values, repeats=None):
    """Means of equal shares of sorted columns: every value is repeated until shares are whole."""
    values = np.asarray(values, np.float64)
    counts = np.ones(len(values), int) if repeats is None else repeats
    whole = np.sort(np.repeat(values, QUANTILES * counts, axis=0), axis=0)
    return whole.reshape(QUANTILES, -1, values.shape[1]).mean(1)


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
    for kind in OURS:
        found = statistic(jnp.asarray(shuffled), kind)
        np.testing.assert_allclose(found, statistic(features, kind), **ROUGH)
    np.testing.assert_allclose(gram_matrix(jnp.asarray(shuffled)), gram_matrix(features), **CLOSE)


def test_statistics_divided_by_positions_do_not_see_how_large_the_image_is(features):
    tiled = jnp.concatenate([features, features], axis=1)
    for kind in OURS:
        np.testing.assert_allclose(statistic(tiled, kind), statistic(features, kind), **ROUGH)


@pytest.mark.parametrize("kind", OF_MOMENTS)
def test_statistics_equal_float64(features, kind):
    expected = helpers.style_statistic(features, kind)
    found = statistic(features, kind)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, **CLOSE)


def test_covariance_of_one_colour_is_zero_with_the_colour_as_its_last_row():
    colour = jnp.asarray([0.5, 2.0, 0.0])
    found = statistic(jnp.broadcast_to(colour, (6, 4, 3)), "covariance")
    np.testing.assert_allclose(found, np.vstack([np.zeros((3, 3)), colour]), atol=1e-6)


HALVES = jnp.asarray([0.5, 0.5])


def test_mixed_moments_are_those_of_all_pictures_together(features, target):
    together = jnp.concatenate([features, target], axis=1)
    mixed = mix([moments(features), moments(target)], HALVES)
    for found, expected in zip(mixed, moments(together), strict=True):
        np.testing.assert_allclose(found, expected, **CLOSE)


@pytest.mark.parametrize("kind", ["gram", "covariance"])
def test_mixing_takes_pictures_of_any_size_alike(features, rng, kind):
    large = jnp.asarray(rng.normal(size=(20, 30, 5)), jnp.float32)
    of, form, _ = get_statistic(kind)
    found = form(mix([of(features, None, "float32"), of(large, None, "float32")], HALVES))
    expected = helpers.mixed_statistic([features, large], kind)
    np.testing.assert_allclose(found, expected, **CLOSE)


def test_a_mixture_is_a_weighted_mean(features, target):
    one, other = moments(features), moments(target)
    mixed = mix([one, other], jnp.asarray([0.75, 0.25]))
    np.testing.assert_allclose(mixed.mean, 0.75 * one.mean + 0.25 * other.mean, **CLOSE)
    np.testing.assert_allclose(mixed.second, 0.75 * one.second + 0.25 * other.second, **CLOSE)
    for found, expected in zip(mix([one, other], jnp.asarray([1.0, 0.0])), one, strict=True):
        np.testing.assert_allclose(found, expected, **CLOSE)


# Distributions.


@pytest.mark.parametrize("count", [3, 63, 256, 1000])
def test_quantile_means_equal_those_of_repeated_values(rng, count):
    values = rng.normal(3, 2, (count, 4))
    found = quantile_means(jnp.asarray(values, jnp.float32))
    assert found.shape == (QUANTILES, 4)
    np.testing.assert_allclose(found, exact_quantile_means(values), **ROUGH)
    assert np.all(np.diff(found, axis=0) >= -1e-3)


def test_quantile_means_of_equal_distributions_are_equal_whatever_their_size(features):
    flat = features.reshape(-1, 5)
    twice = jnp.concatenate([flat, flat[::-1]])
    np.testing.assert_allclose(quantile_means(twice), quantile_means(flat), **ROUGH)


def test_the_gradient_of_quantiles_is_that_with_the_order_held_fixed(rng):
    values = jnp.asarray(rng.normal(size=(512, 3)), jnp.float32)
    goal = jnp.asarray(rng.normal(size=(QUANTILES, 3)), jnp.float32)

    def loss(x):
        return jnp.sum((quantile_means(x) - goal) ** 2)

    # Two values to a share: each gets the derivative of its share's mean.
    ranks = np.argsort(np.argsort(values, axis=0), axis=0)
    apart = np.asarray(quantile_means(values) - goal)
    expected = np.take_along_axis(apart, ranks // 2, axis=0)
    np.testing.assert_allclose(jax.grad(loss)(values), expected, rtol=2e-3, atol=2e-3)


def test_a_sliced_statistic_is_a_histogram_along_directions_of_length_one(features):
    one = jnp.zeros((1, 1, 5)).at[0, 0, 2].set(1.0)
    along = statistic(one, "sliced")[0]  # the third component of each direction
    turned = jnp.stack([statistic(jnp.eye(5)[None, None, i], "sliced")[0] for i in range(5)])
    np.testing.assert_allclose(along, turned[2], **ROUGH)
    np.testing.assert_allclose(jnp.sum(turned**2, axis=0), np.ones(5), rtol=1e-4)
    found = statistic(features, "sliced")
    expected = exact_quantile_means(features.reshape(-1, 5) @ turned)
    np.testing.assert_allclose(found, expected, **ROUGH)


def test_a_histogram_is_that_of_every_channel(features):
    expected = exact_quantile_means(features.reshape(-1, 5))
    np.testing.assert_allclose(statistic(features, "histogram"), expected, **ROUGH)


# Weights of positions.


@pytest.mark.parametrize("kind", OURS)
def test_equal_weights_are_none(features, kind):
    weights = jnp.full((7, 9), 1 / 63)
    found = statistic(features, kind, weights=weights)
    np.testing.assert_allclose(found, statistic(features, kind), **ROUGH)


@pytest.mark.parametrize("kind", OURS)
def test_positions_without_weight_do_not_count(features, target, kind):
    both = jnp.concatenate([features, target], axis=1)
    weights = jnp.concatenate([jnp.full((7, 9), 1 / 63), jnp.zeros((7, 9))], axis=1)
    found = statistic(both, kind, weights=weights)
    np.testing.assert_allclose(found, statistic(features, kind), **ROUGH)
    grad = jax.grad(lambda x: jnp.sum(statistic(x, kind, weights=weights) ** 2))(both)
    np.testing.assert_allclose(grad[:, 9:], np.zeros((7, 9, 5)), atol=1e-4)
    assert np.abs(grad[:, :9]).max() > 1e-3


def test_moments_have_gradients_by_weights_too(features, rng):
    weights = jnp.asarray(rng.random((7, 9)), jnp.float32)
    seen = jnp.asarray(rng.normal(size=(5, 5)), jnp.float32)

    def weighed(weights, form):
        found = form(weights / weights.sum())
        return jnp.sum(found.mean**2) + jnp.sum(found.second * seen)

    def plainly(shares):
        flat, shares = features.reshape(-1, 5), shares.reshape(-1, 1)
        return Moments(jnp.sum(shares * flat, axis=0), (shares * flat).T @ flat)

    found = jax.grad(weighed)(weights, lambda shares: moments(features, weights=shares))
    np.testing.assert_allclose(found, jax.grad(weighed)(weights, plainly), rtol=1e-4, atol=1e-5)


def test_a_weight_is_a_number_of_repetitions(features):
    vectors = features.reshape(-1, 5)[:8]
    repeats = np.asarray([1, 3, 0, 2, 1, 1, 5, 3])
    weights = jnp.asarray(repeats / repeats.sum(), jnp.float32).reshape(2, 4)
    repeated = np.repeat(vectors, repeats, axis=0).reshape(2, 8, 5)
    for kind in OF_MOMENTS:
        found = statistic(vectors.reshape(2, 4, 5), kind, weights=weights)
        np.testing.assert_allclose(found, statistic(jnp.asarray(repeated), kind), **CLOSE)
    found = quantile_means(vectors, weights=weights.reshape(-1))
    np.testing.assert_allclose(found, exact_quantile_means(vectors, repeats), **ROUGH)


@pytest.mark.parametrize("kind", OF_MOMENTS)
@pytest.mark.parametrize("weighted", [False, True])
def test_gradients_equal_finite_differences(rng, kind, weighted):
    features = rng.normal(0.5, 1, (3, 4, 3))
    weights = rng.uniform(0, 1, (3, 4)) if weighted else np.ones((3, 4))
    weights = weights / weights.sum()

    def exact(x):
        vectors, shares = x.reshape(-1, 3), weights.reshape(-1, 1)
        mean, second = (shares * vectors).sum(0), vectors.T @ (shares * vectors)
        if kind == "mean-deviation":
            square = (shares * vectors**2).sum(0)
            return (np.stack([mean, np.sqrt(square - mean**2 + 1e-8)]) ** 3).sum()
        if kind == "gram":
            return (second**3).sum()
        return (np.vstack([second - np.outer(mean, mean), mean]) ** 3).sum()

    def ours(x):
        given = jnp.asarray(weights, jnp.float32) if weighted else None
        return jnp.sum(statistic(x, kind, weights=given) ** 3)

    grad = jax.grad(ours)(jnp.asarray(features, jnp.float32))
    expected, step = np.zeros_like(features), 1e-5
    for i in np.ndindex(features.shape):
        move = np.zeros_like(features)
        move[i] = step
        expected[i] = (exact(features + move) - exact(features - move)) / (2 * step)
    np.testing.assert_allclose(grad, expected, rtol=1e-3, atol=1e-5)


# One's own.


def test_a_statistic_of_ones_own_is_known_by_its_name(features):
    register_statistic("highest", lambda f, weights: jnp.max(f, axis=(0, 1))[None])
    try:
        found = statistic(features, "highest")
        np.testing.assert_array_equal(found, np.max(features, axis=(0, 1))[None])
        register_statistic("highest", lambda f, weights: jnp.min(f, axis=(0, 1))[None])
        assert np.all(statistic(features, "highest") == 0)
    finally:
        del STATISTICS["highest"]
    with pytest.raises(ValueError, match="unknown style statistic 'highest'"):
        get_statistic("highest")
    with pytest.raises(ValueError, match="'gram' is built in"):
        jaxnst.register_statistic("gram", lambda f, weights: f)


def test_every_statistic_compiles_maps_and_is_finite_for_a_blank_map(features, target):
    both = jnp.stack([features, target])
    for kind in OURS:
        mapped = jax.jit(jax.vmap(get_statistic(kind)))(both)
        np.testing.assert_allclose(mapped[1], statistic(target, kind), **ROUGH)
        for blank in (jnp.zeros((4, 5, 3)), jnp.full((4, 5, 3), 0.5)):
            grad = jax.grad(lambda x, kind=kind: jnp.sum(statistic(x, kind)))(blank)
            assert np.all(np.isfinite(grad))


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
