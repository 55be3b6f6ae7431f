"""Starts from noise of the styles' colors; gray noise is in ``test_transfer.py``."""

import dataclasses

import helpers
import jax
import numpy as np
import pytest

import jaxnst
from jaxnst.networks import PREPROCESSING
from jaxnst.recipes.schema import STARTS
from jaxnst.transfer.guidance import Guidance, make_guidance
from jaxnst.transfer.initial import scatter_colors
from jaxnst.transfer.run import Run
from jaxnst.transfer.style_cache import StyleImage

DARK = np.ascontiguousarray(helpers.picture(40, 36, seed=2) ** 3)
BRIGHT = np.ascontiguousarray(helpers.picture(25, 60, seed=3) ** 0.3)


def moments(pixels):
    vectors = np.asarray(pixels, np.float64).reshape(-1, 3)
    return vectors.mean(0), vectors.T @ vectors / len(vectors)


def test_scattered_colours_have_the_style_s_mean_and_covariance():
    found = scatter_colors(jax.random.key(0), [(DARK, None)], (120, 160))
    assert found.shape == (120, 160, 3) and found.dtype == np.float32
    for ours, theirs in zip(moments(found), moments(DARK), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=0.01)  # 19200 draws
    assert {tuple(p) for p in found.reshape(-1, 3)} <= {tuple(p) for p in DARK.reshape(-1, 3)}
    # Neighbors have nothing to do with each other.
    centred = found - found.mean((0, 1))
    assert abs(np.mean(centred[1:] * centred[:-1])) < 0.02 * np.mean(centred**2)


def test_several_styles_are_mixed_as_their_moments_are():
    found = scatter_colors(jax.random.key(1), [(DARK, None), (BRIGHT, None)], (120, 160))
    wanted = [
        (dark + bright) / 2 for dark, bright in zip(moments(DARK), moments(BRIGHT), strict=True)
    ]
    for ours, theirs in zip(moments(found), wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=0.015)


@pytest.fixture(scope="module")
def network():
    return helpers.tiny_network(PREPROCESSING["imagenet"])


def start(network, init, seed=0, **more):
    recipe = dataclasses.replace(helpers.tiny_recipe(), init=init, **more)
    return Run(helpers.picture(48, 64), [DARK, BRIGHT], network, recipe, seed=seed).start_image()


@pytest.mark.parametrize("init", STARTS)
def test_every_start_that_has_a_name_can_be_made(network, init):
    made = start(network, init)
    assert made.shape == (32, 32, 3) or made.shape == (24, 32, 3)
    np.testing.assert_array_equal(made, start(network, init))
    assert np.array_equal(made, start(network, init, seed=1)) == (
        init in ("content", "style", "instant")
    )


def test_a_start_that_has_none_is_refused_with_those_that_have(network):
    with pytest.raises(ValueError, match="init is 'grey', expected one of content, noise, style, "):
        start(network, "grey")


def test_styles_are_scattered_by_their_shares(network):
    found = scatter_colors(
        jax.random.key(1), [(DARK, None), (BRIGHT, None)], (120, 160), shares=[3.0, 1.0]
    )
    wanted = 0.75 * moments(DARK)[0] + 0.25 * moments(BRIGHT)[0]
    np.testing.assert_allclose(moments(found)[0], wanted, atol=0.015)
    recipe = dataclasses.replace(helpers.tiny_recipe(), init="style-colors")
    only = Guidance({"": (0.0, 1.0)})
    made = Run(helpers.picture(48, 64), [DARK, BRIGHT], network, recipe, guidance=only)
    colours = {tuple(p) for p in BRIGHT.reshape(-1, 3)}
    assert {tuple(p) for p in made.start_image().reshape(-1, 3)} <= colours


def test_pixels_are_drawn_where_a_mask_says():
    both = np.concatenate([DARK[:25], BRIGHT], axis=1)
    mask = np.zeros(both.shape[:2], np.float32)
    mask[:, : DARK.shape[1]] = 0.8
    found = scatter_colors(jax.random.key(1), [(both, mask)], (120, 160))
    known = {tuple(pixel) for pixel in DARK.reshape(-1, 3).tolist()}
    assert {tuple(pixel) for pixel in found.reshape(-1, 3).tolist()} <= known


def test_a_run_may_start_from_a_picture_made_in_one_pass():
    content, style = helpers.picture(50, 64, seed=4), helpers.picture(64, 64, seed=5)
    recipe = dataclasses.replace(helpers.tiny_recipe(), init="instant")
    network = helpers.tiny_network(PREPROCESSING["identity"])

    def started(*styles, **more):
        pictures, guidance = make_guidance(
            StyleImage(content), [StyleImage(s) for s in styles], **more
        )
        return Run(content, pictures, network, recipe, guidance=guidance).start_image()

    found = started(style)
    run = Run(content, [style], network, recipe)
    assert found.shape == (*run.schedule.scales[0].inner, 3)
    inner = run.schedule.scales[0].inner
    wanted = jaxnst.resize(jaxnst.instant(content, style, size=max(inner)), inner)
    np.testing.assert_allclose(found, wanted, atol=1e-2)
    # Weights of layers that no decoder knows count for nothing, nor do levels that do not fit.
    mixed = started(
        style, helpers.picture(20, 64, seed=6), style_mix={"": (1, 0), "relu3_2": (0, 1)}
    )
    assert np.isfinite(mixed).all() and np.abs(mixed - found).mean() < 0.2
