"""The coordinates of preconditioned steps."""

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnst.optim.preconditioner import amplify_coarse


def enlargement(size, octaves):
    """The matrix that enlarges a line by 2 ** octaves: repeat, then 1 2 1, again and again."""
    matrix = np.eye(size)
    for _ in range(octaves):
        longer = np.repeat(matrix, 2, axis=0)
        beyond = np.pad(longer, ((1, 1), (0, 0)))
        matrix = 0.25 * beyond[:-2] + 0.5 * longer + 0.25 * beyond[2:]
    return matrix


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
@pytest.mark.parametrize(
    ("shape", "octaves"), [((16, 24), 3), ((48, 32), 3), ((12, 8), 2), ((5, 8), 0)]
)
def test_it_is_the_sum_of_its_docstring(shape, octaves, power):
    image = helpers.picture(*shape)
    expected = image.astype(np.float64)
    for k in range(1, octaves + 1):
        up, across = (enlargement(side // 2**k, k) for side in shape)
        share = 2 ** (k * power) - 2 ** ((k - 1) * power)
        product = np.einsum("ia,ja,jwc->iwc", up, up, image)
        product = np.einsum("wb,vb,ivc->iwc", across, across, product)
        expected = expected + share / 4**k * product
    found = amplify_coarse(jnp.asarray(image), power)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert found.dtype == jnp.float32


def test_large_forms_grow_and_single_pixels_hardly_do():
    inside = (slice(16, -16), slice(16, -16))
    flat = amplify_coarse(jnp.ones((64, 64, 3)), 0.5)
    np.testing.assert_allclose(flat[inside], 2**1.5, rtol=1e-5)
    rows, columns = np.indices((64, 64))
    board = jnp.asarray(np.where((rows + columns) % 2, -1.0, 1.0), jnp.float32)
    board = jnp.stack([board] * 3, axis=-1)
    np.testing.assert_allclose(amplify_coarse(board, 0.5)[inside], board[inside], atol=1e-5)


def test_it_is_linear_symmetric_and_positive():
    a, b = (jnp.asarray(helpers.picture(16, 32, seed)) - 0.5 for seed in (0, 1))
    left, right = jnp.vdot(a, amplify_coarse(b, 0.5)), jnp.vdot(amplify_coarse(a, 0.5), b)
    np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-3)
    assert jnp.vdot(a, amplify_coarse(a, 0.5)) >= jnp.vdot(a, a)
    _, vjp = jax.vjp(lambda x: amplify_coarse(x, 0.5), a)
    np.testing.assert_allclose(vjp(b)[0], amplify_coarse(b, 0.5), atol=1e-5)
    both = amplify_coarse(2 * a - b, 0.5)
    np.testing.assert_allclose(both, 2 * amplify_coarse(a, 0.5) - amplify_coarse(b, 0.5), atol=1e-5)


def test_many_at_once_equal_one_by_one():
    images = jnp.stack([jnp.asarray(helpers.picture(16, 24, seed)) for seed in range(3)])
    together = jax.jit(jax.vmap(lambda image: amplify_coarse(image, 0.5)))(images)
    for image, found in zip(images, together, strict=True):
        np.testing.assert_allclose(found, amplify_coarse(image, 0.5), atol=1e-6)
