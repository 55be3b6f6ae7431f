"""Colors given from one picture to another, alone and in runs."""

import dataclasses
from functools import cache

import helpers
import numpy as np
import pytest

from jaxnst.image import resize
from jaxnst.networks import PREPROCESSING
from jaxnst.optim import solvers as optimize
from jaxnst.recipes import base_recipe, format_recipe, read_recipe
from jaxnst.recipes.schema import Colors, Scales, Solver
from jaxnst.transfer import style_cache as targets
from jaxnst.transfer.batch import stylize_batch
from jaxnst.transfer.color_transfer import (
    MATCHES,
    content_luminance,
    luminance,
    match_histogram,
    match_linear,
    match_luminance,
    recolor_after,
    recolor_before,
)
from jaxnst.transfer.stylize import stylize

CONTENT = helpers.picture(32, 48, seed=1)
STYLE = np.ascontiguousarray(helpers.picture(40, 36, seed=2) ** 2)
SAME_SIZE = np.ascontiguousarray(helpers.picture(32, 48, seed=3) ** 2)
GRAY = np.repeat(CONTENT[..., :1], 3, axis=-1)
CONSTANT = np.full((20, 30, 3), (0.2, 0.5, 0.7), np.float32)
MODES = ("content-luminance", "linear", "histogram")

# To YIQ (FCC 1953), whose first row is luminance.
YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])


def moments(image):
    vectors = np.asarray(image, np.float64).reshape(-1, 3)
    return vectors.mean(0), np.cov(vectors.T, bias=True)


def assert_finite_image(image, shape):
    assert image.shape == shape and image.dtype == np.float32
    assert np.all(np.isfinite(image))


# Luminance.


def test_the_luminance_is_the_result_s_and_the_chroma_the_content_s():
    result = content_luminance(SAME_SIZE, CONTENT)
    found, style, content = (
        np.asarray(i, np.float64) @ YIQ.T for i in (result, SAME_SIZE, CONTENT)
    )
    np.testing.assert_allclose(found[..., 0], style[..., 0], atol=1e-6)
    np.testing.assert_allclose(found[..., 1:], content[..., 1:], atol=1e-4)  # the table's digits
    np.testing.assert_allclose(content_luminance(CONTENT, CONTENT), CONTENT, atol=1e-6)


def test_pictures_of_two_sizes_have_no_common_luminance():
    with pytest.raises(ValueError, match=r"result has shape .* and content .*: resize one"):
        content_luminance(STYLE, CONTENT)


def test_luminance_is_matched_in_mean_and_deviation():
    found = match_luminance(STYLE, CONTENT)
    for c in range(1, 3):
        np.testing.assert_array_equal(found[..., c], found[..., 0])
    wanted = np.asarray(CONTENT, np.float64) @ YIQ[0]
    assert abs(found.mean(dtype=np.float64) - wanted.mean()) < 1e-6
    assert abs(found[..., 0].std(dtype=np.float64) - wanted.std()) < 1e-6
    ranks = np.argsort(luminance(STYLE), axis=None)
    assert np.all(np.diff(found[..., 0].ravel()[ranks]) >= 0)


# Mean and covariance.


@pytest.mark.parametrize(("image", "reference"), [(STYLE, CONTENT), (CONTENT, STYLE)])
def test_mean_and_covariance_become_the_reference_s(image, reference):
    found = match_linear(image, reference)
    for ours, theirs in zip(moments(found), moments(reference), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_the_linear_map_is_symmetric_and_leaves_a_picture_of_these_colors_alone():
    np.testing.assert_allclose(match_linear(CONTENT, CONTENT), CONTENT, atol=1e-5)
    image = np.asarray(STYLE, np.float64).reshape(-1, 3)
    there = np.asarray(match_linear(STYLE, CONTENT), np.float64).reshape(-1, 3)
    stretch = np.linalg.lstsq(image - image.mean(0), there - there.mean(0), rcond=None)[0]
    np.testing.assert_allclose(stretch, stretch.T, atol=1e-4)
    assert np.all(np.linalg.eigvalsh(stretch) > 0)


def test_moments_of_large_pictures_are_summed_in_pieces(monkeypatch):
    whole = match_linear(STYLE, CONTENT)
    monkeypatch.setattr("jaxnst.transfer.color_transfer.PIXELS_AT_ONCE", 100)
    np.testing.assert_allclose(match_linear(STYLE, CONTENT), whole, atol=1e-6)


def test_a_gray_picture_is_tinted_and_not_made_of_its_rounding_errors(rng):
    """Along its one direction it gets the reference's deviation there, and no other."""
    noisy = GRAY + rng.uniform(-0.5 / 255, 0.5 / 255, GRAY.shape).astype(np.float32)
    for image in (GRAY, noisy):
        found = match_linear(image, STYLE)
        mean, covariance = moments(found)
        wanted, goal = moments(STYLE)
        np.testing.assert_allclose(mean, wanted, atol=1e-5)
        one = np.ones(3) / np.sqrt(3)
        np.testing.assert_allclose(one @ covariance @ one, one @ goal @ one, rtol=1e-2)
        across = np.linalg.eigvalsh(covariance)[:2]
        np.testing.assert_allclose(across, 0, atol=1e-5)


def test_colors_become_a_gray_reference_s():
    found = match_linear(STYLE, GRAY)
    for ours, theirs in zip(moments(found), moments(GRAY), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
    np.testing.assert_allclose(found[..., 0], found[..., 2], atol=1e-3)


# Histograms.


def test_equal_sizes_have_equal_sorted_values_afterwards():
    found = match_histogram(SAME_SIZE, CONTENT)
    for c in range(3):
        ours, theirs = (np.sort(i[..., c], axis=None) for i in (found, CONTENT))
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
        order = np.argsort(SAME_SIZE[..., c], axis=None)
        assert np.all(np.diff(found[..., c].ravel()[order]) >= -1e-6)


@pytest.mark.parametrize("factor", [1, 4, 7])
def test_other_sizes_have_the_same_quantiles(factor):
    """A reference whose pixels are all repeated is the same distribution."""
    repeated = np.repeat(CONTENT, factor, axis=0)
    close = {"atol": 1e-5}
    np.testing.assert_allclose(
        match_histogram(SAME_SIZE, repeated), match_histogram(SAME_SIZE, CONTENT), **close
    )
    found = np.sort(match_histogram(repeated[::-1], SAME_SIZE), axis=None)
    expected = np.sort(match_histogram(CONTENT, SAME_SIZE), axis=None)
    np.testing.assert_allclose(found, np.repeat(expected, factor), **close)


def test_quantiles_of_other_sizes_are_means_of_their_shares():
    image = np.tile(np.array([0.4, 0.1, 0.1], np.float32)[:, None, None], (1, 1, 3))
    reference = np.tile(np.array([0.0, 0.6], np.float32)[:, None, None], (1, 1, 3))
    found = match_histogram(image, reference)[:, 0, 0]
    # Two thirds of the ranks hold all of 0 and a quarter of their share of 0.6.
    np.testing.assert_allclose(found, [0.6, 0.15, 0.15], atol=1e-6)


# Pictures that have no colors, or one.


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("image", "reference"),
    [(CONSTANT, CONTENT), (STYLE, CONSTANT), (CONSTANT, CONSTANT), (GRAY, CONSTANT), (GRAY, GRAY)],
    ids=["constant style", "constant content", "both constant", "gray to one", "gray to gray"],
)
def test_pictures_without_variety_give_plain_pictures(mode, image, reference):
    found = MATCHES[mode](image, reference)
    assert_finite_image(found, image.shape)
    wanted = reference if mode != "content-luminance" else luminance(reference)[..., None]
    np.testing.assert_allclose(
        found.mean((0, 1)), np.broadcast_to(wanted.mean((0, 1)), 3), atol=1e-5
    )
    if CONSTANT is image or CONSTANT is reference:
        np.testing.assert_allclose(found, np.broadcast_to(found[0, 0], found.shape), atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_what_a_run_gets_is_clipped(mode):
    black_and_white = np.round(CONTENT)
    colors = Colors(mode=mode)
    for found in (
        recolor_before(colors, STYLE, black_and_white),
        recolor_after(colors, SAME_SIZE, black_and_white),
    ):
        assert_finite_image(found, found.shape)
        assert found.min() >= 0 and found.max() <= 1


# Runs.

RECIPE = helpers.tiny_recipe(solver=Solver(kind="adam"), scales=Scales(least=48, evaluations=(4,)))


def colored(mode, when="before"):
    return dataclasses.replace(RECIPE, colors=Colors(mode=mode, when=when))


@pytest.fixture(scope="module")
def network():
    return helpers.tiny_network(PREPROCESSING["imagenet"], name="tiny of the colors")


@pytest.fixture(scope="module")
def painted(network):
    """Results by mode and time, each made once."""

    @cache
    def result(mode, when="before"):
        return stylize(CONTENT, STYLE, network=network, recipe=colored(mode, when)).image

    return result


def test_the_colors_of_the_style_are_not_touched(painted, network):
    plain = stylize(CONTENT, STYLE, network=network, recipe=RECIPE).image
    np.testing.assert_array_equal(painted("style"), plain)
    np.testing.assert_array_equal(painted("style", "after"), plain)


def test_recolored_results_have_the_content_s_colors(painted):
    plain = painted("style")
    expected = np.clip(content_luminance(plain, CONTENT), 0, 1)
    np.testing.assert_array_equal(painted("content-luminance", "after"), expected)
    for mode, match in (("linear", match_linear), ("histogram", match_histogram)):
        found = painted(mode, "after")
        np.testing.assert_array_equal(found, np.clip(match(plain, CONTENT), 0, 1))
        assert np.abs(found - plain).max() > 0.05


@pytest.mark.parametrize("mode", ["linear", "histogram"])
def test_recolored_styles_are_what_the_run_follows(painted, network, mode):
    size = (40, 36)  # which is that of its scale
    style = np.clip(MATCHES[mode](resize(STYLE, size), CONTENT), 0, 1)
    expected = stylize(CONTENT, style, network=network, recipe=RECIPE).image
    np.testing.assert_array_equal(painted(mode), expected)
    assert np.abs(painted(mode) - painted("style")).max() > 0.01


def test_luminance_alone_may_be_transferred(painted, network):
    """Between gray pictures, the content's chroma put back at the end."""
    gray, style = (match_luminance(i, CONTENT) for i in (CONTENT, STYLE))
    inner = stylize(np.clip(gray, 0, 1), np.clip(style, 0, 1), network=network, recipe=RECIPE).image
    expected = np.clip(content_luminance(inner, CONTENT), 0, 1)
    np.testing.assert_allclose(painted("content-luminance", "before"), expected, atol=1e-5)


def test_lanes_of_a_batch_are_recolored_each_by_its_own_content(painted, network):
    other = np.ascontiguousarray(CONTENT[..., ::-1])
    contents, modes = [*[CONTENT] * 3, other], (*MODES, "linear")
    recipes = [colored(mode) for mode in modes]
    found = stylize_batch(contents, [STYLE] * 4, network=network, recipe=recipes)
    for result, mode in zip(found[:3], MODES, strict=True):
        np.testing.assert_allclose(result.image, painted(mode), atol=2e-3)
    assert np.abs(found[3].image - found[1].image).max() > 0.05


def test_what_is_transparent_keeps_its_own_colors(network):
    opacity = np.ones((32, 48, 1), np.float32)
    opacity[:, :24] = 0
    content = np.concatenate([CONTENT, opacity], axis=-1)
    result = stylize(content, STYLE, network=network, recipe=colored("content-luminance")).image
    assert result.shape == (32, 48, 4)
    np.testing.assert_array_equal(result[:, :24, :3], CONTENT[:, :24])
    chroma = (np.asarray(i[:, 24:, :3], np.float64) @ YIQ[1:].T for i in (result, CONTENT))
    inside = np.all((result[:, 24:, :3] > 0) & (result[:, 24:, :3] < 1), axis=-1)  # not clipped
    found, wanted = chroma
    assert inside.mean() > 0.5
    np.testing.assert_allclose(found[inside], wanted[inside], atol=1e-3)


def test_colors_compile_nothing(painted, network):
    painted("style")
    programs = optimize.advance, targets.targets_of, targets.summaries_of, targets.mixed_styles
    before = [program._cache_size() for program in programs]
    for mode in MODES:
        stylize(CONTENT, STYLE, network=network, recipe=colored(mode, "before"))
    assert [program._cache_size() for program in programs] == before


# Where they are asked for.


def test_a_recipe_s_colors_are_written_and_read(tmp_path):
    recipe = dataclasses.replace(base_recipe("default", ""), colors=Colors(mode="linear"))
    path = tmp_path / "default.toml"
    for wanted in (recipe, dataclasses.replace(recipe, colors=Colors(mode="style", when="after"))):
        path.write_text(format_recipe(wanted))
        assert read_recipe(path, base=base_recipe) == wanted
    path.write_text('[colors]\nmode = "chroma"\n')
    with pytest.raises(ValueError, match=r"colors\.mode is 'chroma', expected one of style, cont"):
        read_recipe(path, base=base_recipe)
