"""What distances of style statistics have beyond the losses' common tests: Wasserstein's."""

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnst.losses.distances import DISTANCES, get_distance, root_trace, style_loss
from jaxnst.losses.statistics import get_statistic


def covariance(channels, seed, spread=1.0):
    """A well-conditioned statistic, covariance and mean, that no 12 steps find hard."""
    rng = np.random.default_rng(seed)
    vectors = spread * rng.normal(size=(8 * channels, channels)) + rng.normal(size=channels)
    return np.vstack([np.cov(vectors.T, bias=True), vectors.mean(0)])


def exact_root(matrix):
    values, vectors = np.linalg.eigh(matrix)
    return vectors @ np.diag(np.sqrt(values)) @ vectors.T


def lyapunov(root, matrix, steps=12):
    """Solve ``R X + X R = M`` as style-transfer-pytorch goes backwards through its root."""
    norm = np.linalg.norm(root)
    a, q = root / norm, matrix / norm
    one = np.eye(len(root))
    for _ in range(steps):
        q = (q @ (3 * one - a @ a) - a.T @ (a.T @ q - q @ a)) / 2
        a = a @ (3 * one - a @ a) / 2
    return q / 2


def test_wasserstein_between_gaussians_equals_the_closed_form():
    one, other = covariance(6, 1), covariance(6, 2, spread=2.0)
    expected = helpers.wasserstein(one, other, root=exact_root)
    found = style_loss(
        jnp.asarray(one, jnp.float32), jnp.asarray(other, jnp.float32), distance="wasserstein"
    )
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_wasserstein_of_diagonal_covariances_is_elementary():
    """``|m - m*|^2 + sum (s - s*)^2`` over C, with deviations s."""
    s, t, m, n = np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 1.0]), np.zeros(3), np.ones(3)
    statistics = [
        jnp.asarray(np.vstack([np.diag(d**2), a]), jnp.float32) for d, a in ((s, m), (t, n))
    ]
    found = style_loss(*statistics, distance="wasserstein")
    np.testing.assert_allclose(found, (3 + np.sum((s - t) ** 2)) / 3, rtol=1e-3)


def test_wasserstein_takes_twelve_steps_where_the_root_is_hard(rng):
    """A ReLU's features with more channels than positions: half the eigenvalues are the ridge."""
    features = [np.maximum(rng.normal(size=(3, 4, 24)), 0) for _ in range(2)]
    pair = [helpers.style_statistic(f, "covariance") for f in features]
    expected = helpers.wasserstein(*pair)
    statistics = [get_statistic("covariance")(jnp.asarray(f, jnp.float32)) for f in features]
    np.testing.assert_allclose(style_loss(*statistics, distance="wasserstein"), expected, rtol=1e-4)
    exact = helpers.wasserstein(*pair, root=exact_root)
    assert abs(exact / expected - 1) > 1e-3  # else the case is not hard


def test_the_gradient_of_a_root_s_trace_is_half_the_inverse_root():
    matrix = covariance(8, 3)[:-1]
    grad = jax.grad(root_trace)(jnp.asarray(matrix, jnp.float32))
    np.testing.assert_allclose(grad, np.linalg.inv(exact_root(matrix)) / 2, rtol=1e-3, atol=1e-4)
    twice = jax.grad(lambda a: 3 * root_trace(a))(jnp.asarray(matrix, jnp.float32))
    np.testing.assert_allclose(twice, 3 * grad, rtol=1e-6)


def test_the_trace_only_gradient_is_close_to_the_one_through_lyapunov_s_equation(rng):
    """On real-looking covariances: hard ones, of which 12 steps resolve a part."""
    features = np.maximum(rng.normal(size=(16, 16, 32)) @ rng.normal(size=(32, 32)) / 4, 0)
    matrix = helpers.style_statistic(features, "covariance")[:-1] + 1e-4 * np.eye(32)
    inner = matrix @ matrix
    ours = np.asarray(jax.grad(root_trace)(jnp.asarray(inner, jnp.float32)), np.float64)
    theirs = lyapunov(helpers.newton_schulz(inner), np.eye(32))
    assert np.linalg.norm(ours - theirs) < 0.02 * np.linalg.norm(theirs)
    cosine = np.vdot(ours, theirs) / np.linalg.norm(ours) / np.linalg.norm(theirs)
    assert cosine > 0.999


def test_wasserstein_is_for_covariances():
    with pytest.raises(ValueError, match="compares means and covariances"):
        style_loss(jnp.eye(3), jnp.eye(3), distance="wasserstein")


@pytest.mark.parametrize("colour", [0.0, 0.5])
def test_wasserstein_of_blank_pictures_is_finite(rng, colour):
    blank = jnp.full((5, 6, 3), colour)
    noise = jnp.asarray(rng.normal(size=(5, 6, 3)), jnp.float32)
    see = get_statistic("covariance")

    @jax.value_and_grad
    def loss(x, target):
        return style_loss(see(x), see(target), distance="wasserstein")

    for x, target in ((blank, blank), (noise, blank), (blank, noise)):
        value, grad = loss(x, target)
        assert np.isfinite(value) and np.all(np.isfinite(grad))


def test_wasserstein_compiled_and_mapped_equals_plain():
    ones = jnp.asarray([covariance(5, seed) for seed in (1, 2)], jnp.float32)
    other = jnp.asarray(covariance(5, 3), jnp.float32)

    def loss(statistic):
        return style_loss(statistic, other, distance="wasserstein")

    plain = [loss(one) for one in ones]
    np.testing.assert_allclose(jax.jit(jax.vmap(loss))(ones), plain, rtol=1e-4)
    grads = [jax.grad(loss)(one) for one in ones]
    np.testing.assert_allclose(jax.vmap(jax.grad(loss))(ones), grads, rtol=1e-3, atol=1e-5)


def test_an_unknown_distance_names_those_there_are():
    with pytest.raises(ValueError, match="'hamming': expected one of target, mean"):
        get_distance("hamming")
    assert all(get_distance(name) is DISTANCES[name] for name in DISTANCES)
