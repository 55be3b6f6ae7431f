"""Nearest neighbors of features: matching, samples, pyramids, and runs of the recipe nnst."""

import dataclasses
import itertools

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnst import get_recipe, stylize, stylize_batch
from jaxnst.feedforward.perceptual import make_loss
from jaxnst.feedforward.transformer import TransformationNetwork
from jaxnst.image import resample
from jaxnst.losses import neighbors
from jaxnst.losses.neighbors import layer_loss, make_library, nearest, sample_positions
from jaxnst.losses.objective import make_loss_weights, make_objective, neighbor_shapes
from jaxnst.networks import PREPROCESSING
from jaxnst.optim.preconditioner import pyramid_sizes, sum_pyramid
from jaxnst.optim.solvers import advance, make_solver, picture, start
from jaxnst.recipes.schema import Recipe, Solver
from jaxnst.transfer import color_transfer, runner
from jaxnst.transfer.run import Run

CONTENT, STYLE = helpers.picture(32, 40, 1), helpers.picture(28, 36, 2)
NNST = get_recipe("nnst")
TINY = dataclasses.replace(
    NNST,
    style=dataclasses.replace(NNST.style, layers=(("relu1_1", 1.0), ("relu2_1", 1.0))),
    scales=dataclasses.replace(NNST.scales, least=16, evaluations=(6, 5), last_pass=4),
)


@pytest.fixture(scope="module")
def network():
    return helpers.tiny_network(PREPROCESSING["imagenet"], name="tiny of the neighbors")


@pytest.fixture(scope="module", autouse=True)
def _all_vectors():
    """Steps of the last pass look at the same vectors, so that their losses can be compared."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbors, "STYLE_SAMPLES", neighbors.LIBRARY)
        yield


# Matching.


def similarities(vectors, library):
    """Cosine of every pair after each side's own mean is subtracted, in float64."""
    sides = [np.asarray(x, np.float64) for x in (vectors, library)]
    centered = [x - x.mean(axis=0) for x in sides]
    left, right = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in centered)
    return left @ right.T


def test_the_nearest_is_that_of_all_parts_and_blocks(monkeypatch):
    monkeypatch.setattr(neighbors, "AT_ONCE", 55)  # blocks of 5 and 7 for 37 vectors
    rng = np.random.default_rng(0)
    vectors, parts = rng.uniform(0, 3, (37, 6)), [rng.gamma(1, 1, (n, 6)) for n in (11, 7)]
    chosen = nearest(jnp.asarray(vectors), [jnp.asarray(part) for part in parts])
    library = np.concatenate(parts)
    expected = library[similarities(vectors, library).argmax(axis=1)]
    assert len(np.unique(expected, axis=0)) > 8
    np.testing.assert_allclose(chosen, expected, rtol=1e-6)


def test_the_loss_of_a_layer_is_the_mean_distance_from_the_nearest():
    rng = np.random.default_rng(1)
    vectors, styles = rng.uniform(0, 3, (37, 6)), rng.gamma(1, 1, (50, 6))
    key = jax.random.key(0)
    library = make_library(key, [jnp.asarray(styles[:20]), jnp.asarray(styles[20:])])
    loss = layer_loss(key, jnp.asarray(vectors), library, precision="float32")
    expected = 1 - similarities(vectors, styles).max(axis=1).mean()
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_samples_are_on_grids_that_reach_every_position(monkeypatch):
    monkeypatch.setattr(neighbors, "SAMPLES", 12)
    number = np.arange(7 * 9, dtype=np.float32).reshape(7, 9, 1)
    seen = set()
    for seed in range(60):
        sample = np.asarray(sample_positions(jax.random.key(seed), jnp.asarray(number)))
        rows, columns = np.unravel_index(sample[:, 0].astype(int).reshape(3, 3), (7, 9))
        assert np.all(rows[1] == rows[0] + 3) and np.all(rows[2] == 6)  # the last row, repeated
        assert np.all(np.diff(columns, axis=1) == 3) and np.all(np.diff(rows, axis=1) == 0)
        seen |= set(sample[:, 0])
    assert len(seen) == 7 * 9


# Pyramids.


def enlarged(image, size):
    return jax.image.resize(image, (*size, 3), "linear")


def decomposed(image):
    """A Laplacian pyramid's coefficients: of each level, less its reduced and enlarged self."""
    levels, sizes = [], pyramid_sizes(image.shape[:2])
    for size, smaller in itertools.pairwise(sizes):
        coarse = enlarged(image, smaller)
        levels.append(image - enlarged(coarse, size))
        image = coarse
    return jnp.concatenate([level.reshape(-1) for level in (*levels, image)])


def test_a_pyramid_is_summed_to_the_image_it_was_made_of():
    image = helpers.picture(21, 34, 3)
    assert pyramid_sizes((21, 34)) == [(21, 34), (10, 17), (5, 8), (2, 4), (1, 2)]
    np.testing.assert_allclose(sum_pyramid(decomposed(image), (21, 34)), image, atol=1e-6)


def quadratic(image, goal):
    loss = jnp.sum((image - goal) ** 2)
    return loss, loss[None]


def test_adam_takes_the_steps_that_it_takes_on_the_images_own_coefficients():
    image, goal = (jnp.asarray(helpers.picture(21, 34, seed)) for seed in (3, 4))
    solver = Solver(kind="adam", learning_rate=0.01, betas=(0.8, 0.9), pyramid=True)
    method, rates = make_solver(Recipe(solver=solver))
    state = start(method, image, 1)
    state, record = advance(
        quadratic, method, (goal,), rates, state, jnp.asarray(4), jnp.asarray(4)
    )

    coefficients, mean, square = np.asarray(decomposed(image), np.float64), 0.0, 0.0
    for t in range(1, 5):
        shown, pull = jax.vjp(lambda c: sum_pyramid(c, (21, 34)), jnp.asarray(coefficients))
        np.testing.assert_allclose(record[t - 1, 0], jnp.sum((shown - goal) ** 2), rtol=1e-5)
        grad = np.asarray(pull(2 * (shown - goal))[0], np.float64)
        mean, square = 0.8 * mean + 0.2 * grad, 0.9 * square + 0.1 * grad**2
        step = mean / (1 - 0.8**t) / (np.sqrt(square / (1 - 0.9**t)) + 1e-8)
        coefficients -= 0.01 * step
    expected = sum_pyramid(jnp.asarray(coefficients), (21, 34))
    np.testing.assert_allclose(picture(method, state), expected, atol=2e-5)


# Runs.


@pytest.fixture(scope="module")
def watched(network):
    """A run, and a checkpoint of each of its steps."""
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "CHUNK_SECONDS", 0.0)
        result = stylize(
            *(CONTENT, STYLE),
            network=network,
            recipe=TINY,
            callback=lambda progress: seen.append(progress.checkpoint()),
        )
    return result, seen


def test_every_scale_brings_its_loss_down(watched):
    losses, ends = watched[0].losses["total"], np.cumsum([6, 5, 4])
    assert [t.size for t in watched[0].timings] == [(16, 20), (32, 40), (32, 40)]
    assert losses.shape == (15,)
    for first, end in zip((0, *ends), ends, strict=False):
        assert 0 < losses[end - 1] < losses[first] < 2
    assert np.all(watched[0].losses["content"] == 0)


def test_a_picture_is_the_same_again_and_after_every_interruption(network, watched):
    result, seen = watched
    for checkpoint in (None, seen[3], seen[10], seen[-2]):
        again = stylize(CONTENT, STYLE, network=network, recipe=TINY, resume=checkpoint)
        np.testing.assert_array_equal(again.image, result.image)
        np.testing.assert_array_equal(again.losses["total"], result.losses["total"])


def test_a_batch_paints_what_single_runs_paint(network, watched):
    pair = stylize_batch([CONTENT, CONTENT], [STYLE, STYLE], network=network, recipe=TINY)
    expected = watched[0].losses["total"]
    for one in pair:
        # In the last pass, rounding decides between neighbors that are as near.
        np.testing.assert_allclose(one.losses["total"][:11], expected[:11], rtol=1e-4)
        np.testing.assert_allclose(one.losses["total"][11:], expected[11:], rtol=5e-2)
        assert np.mean(np.abs(one.image - watched[0].image)) < 5e-3


def test_turned_by_a_quarter_a_photograph_is_its_own_neighbor(network):
    one_size = dataclasses.replace(TINY, scales=dataclasses.replace(TINY.scales, several=False))
    run = Run(CONTENT, [np.rot90(CONTENT).copy()], network, one_size)
    targets = run.neighbors(network.params, 0, CONTENT)

    @jax.jit
    def loss(image):
        return run.objective(image, network.params, targets, run.numbers)[0]

    np.testing.assert_allclose(loss(CONTENT), 0, atol=1e-3)
    assert loss(helpers.picture(32, 40, 5)) > 0.05


def test_targets_are_of_what_is_three_parts_photograph_and_one_part_result(network):
    run = Run(CONTENT, [STYLE], network, TINY)
    start = helpers.picture(32, 40, 5)
    blurred = resample(resample(CONTENT, (16, 20)), (32, 40))
    mixture = 0.75 * CONTENT + 0.25 * (start + CONTENT - blurred)
    targets = run.neighbors(network.params, 1, start)
    columns, *styles = (
        np.asarray(run.objective.columns(network.params, jnp.asarray(image), run.numbers))
        for image in (mixture, *(np.rot90(STYLE, k) for k in range(4)))
    )
    library = np.concatenate([style.reshape(-1, 10) for style in styles])
    nearest = library[similarities(columns.reshape(-1, 10), library).argmax(axis=1)]
    expected = nearest / np.linalg.norm(nearest, axis=1, keepdims=True)
    np.testing.assert_allclose(targets.columns.reshape(-1, 10), expected, atol=1e-5)


@pytest.mark.parametrize("again", [False, True])
def test_recomputed_feature_maps_give_the_same_loss_and_gradient(network, again):
    shapes = neighbor_shapes(make_objective(TINY, network), (32, 40), by_layer=again)
    rng = np.random.default_rng(0)
    targets = jax.tree.map(lambda s: jnp.asarray(rng.uniform(0, 9, s.shape), s.dtype), shapes)
    args = network.params, targets, make_loss_weights(TINY)

    def of(remat):
        objective = make_objective(TINY, network, remat=remat)
        return jax.jit(jax.value_and_grad(lambda x: objective(x, *args, 3)[0]))(CONTENT)

    for kept, recomputed in zip(of(False), of(True), strict=True):
        np.testing.assert_allclose(recomputed, kept, rtol=1e-4, atol=1e-7)


# Colors.


def test_oklab_has_the_values_of_its_author():
    lab = color_transfer.to_oklab(np.array([[[1, 1, 1], [1, 0, 0], [0, 0, 1]]], np.float32))
    expected = [[1, 0, 0], [0.628, 0.2249, 0.1258], [0.452, -0.0325, -0.3115]]
    np.testing.assert_allclose(lab[0], expected, atol=2e-4)
    image = helpers.picture(9, 8, 1)
    there = color_transfer.to_oklab(image)
    np.testing.assert_allclose(color_transfer.from_oklab(there), image, atol=1e-5)


def test_a_palette_is_that_of_all_styles_and_lightness_stays():
    rng = np.random.default_rng(0)
    image, *styles = (rng.uniform(0.4, 0.6, (n, 9, 3)).astype(np.float32) for n in (8, 7, 14))
    matched = color_transfer.to_oklab(color_transfer.match_palette(image, styles))
    chroma = color_transfer.to_oklab(np.concatenate(styles))[..., 1:].reshape(-1, 2)
    result = matched[..., 1:].reshape(-1, 2)
    np.testing.assert_allclose(result.mean(0), chroma.mean(0), atol=1e-5)
    np.testing.assert_allclose(np.cov(result.T, bias=True), np.cov(chroma.T, bias=True), atol=1e-5)
    np.testing.assert_allclose(matched[..., 0], color_transfer.to_oklab(image)[..., 0], atol=1e-5)


# What cannot be.


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tile": 16}, "'neighbors' of relu1_1 is not a sum over positions"),
        ({"masks": [np.ones((32, 40), np.float32)]}, "takes no masks, style mix or transparency"),
        ({"style_mix": (1,)}, "takes no masks, style mix or transparency"),
        ({"style_masks": [np.eye(28, 36, dtype=np.float32)]}, "takes no masks"),
        ({"optimizer": "lbfgs"}, "'neighbors' is for adam with pyramid = true"),
        ({"solver_pyramid": False}, "'neighbors' is for adam with pyramid = true"),
        ({"style_weight": 0.0}, "style weight is 0"),
        ({"style_statistics": {"relu2_1": "gram"}}, "is 'gram' and that of the recipe 'neighbors'"),
        (
            {
                "content_layers": {"relu2_1": 1.0},
                "style_statistic": "gram",
                "style_statistics": {"relu1_1": "neighbors", "relu2_1": "neighbors"},
            },
            "relu1_1 is 'neighbors' and that of the recipe 'gram', but 'neighbors' is for all",
        ),
        ({"bounds": (0.0, 1.0)}, "a pyramid has no bounds"),
        ({"solver_carry": True}, "moments of a pyramid are not carried over"),
    ],
)
def test_what_cannot_be_combined_is_refused(network, options, words):
    with pytest.raises(ValueError, match=words):
        stylize(CONTENT, STYLE, network=network, recipe=TINY, **options)


def test_a_transparent_photograph_is_refused(network):
    cut_out = np.concatenate([CONTENT, np.eye(32, 40, dtype=np.float32)[..., None]], axis=-1)
    with pytest.raises(ValueError, match="takes no masks, style mix or transparency"):
        stylize(cut_out, STYLE, network=network, recipe=TINY)


def test_a_network_cannot_be_trained_with_neighbors(network):
    with pytest.raises(ValueError, match="matches each picture by itself"):
        make_loss(TransformationNetwork(), TINY, network, STYLE, style_size=32)
