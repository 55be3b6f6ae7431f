"""Several styles, masks and transparency: exactness, what may change, and what is refused."""

import dataclasses
from functools import partial

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import jaxnst
from jaxnst.networks import PREPROCESSING
from jaxnst.networks.color_space import encode
from jaxnst.optim.solvers import advance
from jaxnst.recipes.schema import Content, Scales, Solver, Style
from jaxnst.transfer import style_cache as targets
from jaxnst.transfer.batch import stylize_batch
from jaxnst.transfer.guidance import make_guidance
from jaxnst.transfer.masks import check_mask, disjoint, position_weights
from jaxnst.transfer.run import Run
from jaxnst.transfer.style_cache import StyleImage

CONTENT = helpers.picture(36, 48, seed=1)
STYLES = [helpers.picture(40, 50, seed=2), helpers.picture(33, 60, seed=3)]
RECIPE = helpers.tiny_recipe(scales=Scales(several=False, evaluations=(4,)))
STATISTICS = {
    "covariance": RECIPE,
    "each its own": dataclasses.replace(
        RECIPE,
        style=Style(
            layers=(("relu1_1", 1.0), ("relu2_1", 0.5), ("relu3_1", 2.0)),
            statistic="mean-deviation",
            statistics=(("relu1_1", "histogram"), ("relu2_1", "sliced")),
            distance="mean",
        ),
    ),
    "transport": dataclasses.replace(
        RECIPE,
        style=Style(layers=(("relu2_1", 1.0),), distances=(("relu2_1", "wasserstein"),)),
    ),
}
LEFT = np.zeros((36, 48), np.float32)
LEFT[:, :24] = 1


@pytest.fixture(scope="module")
def network():
    return helpers.tiny_network(PREPROCESSING["imagenet"], name="tiny of the guidance")


@partial(jax.jit, static_argnums=0)
def value_and_grad(objective, *args):
    return jax.value_and_grad(objective, has_aux=True)(*args)


def evaluate(network, styles, *, recipe=RECIPE, content=CONTENT, images=None, **asked):
    """Loss and gradient at three images, or at those given."""
    whole = StyleImage(content)
    parts, guidance = make_guidance(whole, [StyleImage(s) for s in styles], **asked)
    run = Run(whole.image, parts, network, recipe, guidance=guidance)
    (scale,) = run.schedule.scales
    args = network.params, run.targets(network.params, scale), run.numbers
    if images is None:
        images = [helpers.picture(*scale.inner, seed=s) for s in (7, 8, 9)]
    found = []
    for image in images:
        variable = encode(jnp.asarray(image), recipe.space)
        (loss, _), grad = value_and_grad(run.objective, variable, *args)
        found.append((float(loss), np.asarray(grad)))
    return found


def assert_equal(found, expected, tolerance=1e-5):
    for (loss, grad), (wanted, slope) in zip(found, expected, strict=True):
        np.testing.assert_allclose(loss, wanted, rtol=tolerance)
        assert np.linalg.norm(grad - slope) <= tolerance * np.linalg.norm(slope)


# Exactness.


@pytest.mark.parametrize("name", STATISTICS)
def test_a_mask_of_ones_equals_no_mask(network, name):
    recipe, ones = STATISTICS[name], np.ones((36, 48), np.float32)
    plain = evaluate(network, STYLES[:1], recipe=recipe)
    # Quantiles are differences of sums, times the number of shares.
    tolerance = 1e-3 if recipe.style.statistics else 1e-5
    masked = evaluate(network, STYLES[:1], recipe=recipe, masks=[ones])
    assert_equal(masked, plain, tolerance)
    of_style = np.ones((20, 25), np.float32)  # smaller than the style, of its shape
    masked = evaluate(network, STYLES[:1], recipe=recipe, style_masks=[of_style])
    assert_equal(masked, plain, tolerance)


@pytest.mark.parametrize("name", STATISTICS)
def test_two_equal_styles_equal_one(network, name):
    recipe = STATISTICS[name]
    one = evaluate(network, STYLES[:1], recipe=recipe)
    both = [STYLES[0], STYLES[0].copy()]
    assert_equal(evaluate(network, both, recipe=recipe), one)
    assert_equal(evaluate(network, both, recipe=recipe, style_mix=(0.2, 3)), one)


def test_weights_of_one_and_zero_leave_one_style(network):
    for weights, style in (((2, 0), STYLES[0]), ((0, 0.1), STYLES[1])):
        mixed = evaluate(network, STYLES, style_mix=weights)
        assert_equal(mixed, evaluate(network, [style]))


def test_a_mixture_by_layer_takes_each_layer_from_its_style(network):
    layers = ("relu1_1", "relu2_1", "relu3_1")

    def recipe(weights):
        style = Style(layers=tuple(zip(layers, weights, strict=True)))
        return dataclasses.replace(RECIPE, style=style, content=Content(weight=0.0, layers=()))

    mixed = evaluate(
        network, STYLES, recipe=recipe((1.0, 1.0, 1.0)), style_mix={"": (1, 0), "relu1_1": (0, 1)}
    )
    fine = evaluate(network, STYLES[1:], recipe=recipe((1.0, 0.0, 0.0)))
    coarse = evaluate(network, STYLES[:1], recipe=recipe((0.0, 1.0, 1.0)))
    smooth = evaluate(network, STYLES[:1], recipe=recipe((0.0, 0.0, 1e-30)))
    together = [
        (a + b - c, f + g - h) for (a, f), (b, g), (c, h) in zip(fine, coarse, smooth, strict=True)
    ]
    assert_equal(mixed, together, 1e-4)


def test_two_masks_divide_the_picture_between_two_styles(network):
    styles_only = dataclasses.replace(
        RECIPE,
        content=Content(weight=0.0, layers=()),
        tv=dataclasses.replace(RECIPE.tv, weight=0.0),
    )
    both = evaluate(network, STYLES, recipe=styles_only, masks=[LEFT, 1 - LEFT])
    left = evaluate(network, STYLES[:1], recipe=styles_only, masks=[LEFT])
    right = evaluate(network, STYLES[1:], recipe=styles_only, masks=[1 - LEFT])
    sums = [(a + b, f + g) for (a, f), (b, g) in zip(left, right, strict=True)]
    assert_equal(both, sums)
    # Far on the other side nothing pulls.
    for (_, grad), (_, other) in zip(left, right, strict=True):
        assert np.abs(grad[:, 42:]).max() == 0 < np.abs(grad[:, :12]).max()
        assert np.abs(other[:, :12]).max() == 0 < np.abs(other[:, 42:]).max()


def test_where_masks_overlap_each_gets_its_share():
    found = disjoint([np.ones((2, 2), np.float32), np.ones((2, 2), np.float32)])
    np.testing.assert_array_equal(found, np.full((2, 2, 2), 0.5))
    soft = [np.full((2, 2), 0.25, np.float32), np.full((2, 2), 0.5, np.float32)]
    np.testing.assert_array_equal(disjoint(soft), soft)


def test_weights_of_positions_shrink_a_region_and_take_the_outside_as_inside():
    mask = np.zeros((8, 8), np.float32)
    mask[:, :4] = 1
    found = position_weights(mask, (8, 8))
    np.testing.assert_allclose(found[:, :3], np.full((8, 3), 1 / 24), rtol=1e-6)
    assert np.all(found[:, 3:] == 0)
    # A region that would vanish is left as it is.
    mask = np.zeros((8, 8), np.float32)
    mask[4, 4] = 1
    assert position_weights(mask, (8, 8))[4, 4] == 1
    np.testing.assert_allclose(position_weights(np.ones((9, 7)), (3, 2)), np.full((3, 2), 1 / 6))


def test_a_blend_of_styles_moves_nothing_but_numbers(network):
    given = {"network": network, "recipe": RECIPE}
    jaxnst.stylize(CONTENT, STYLES, style_mix=(0.5, 0.5), **given)
    counts = advance._cache_size(), targets.mixed_styles._cache_size()
    for weights in ((1, 2), (0, 1), {"": (1, 0), "relu1_1": (0, 1)}):
        jaxnst.stylize(CONTENT, STYLES, style_mix=weights, **given)
    assert (advance._cache_size(), targets.mixed_styles._cache_size()) == counts


# Transparency.


@pytest.fixture
def cut_out():
    """The content with a transparent left part and a soft border."""
    opacity = np.ones((36, 48, 1), np.float32)
    opacity[:, :20] = 0
    opacity[:, 20:24] = 0.5
    return np.concatenate([CONTENT, opacity], axis=-1)


@pytest.mark.parametrize("solver", [Solver(), Solver(kind="adam", average=0.9)])
def test_transparent_pixels_stay_to_the_bit_and_the_others_do_not(network, cut_out, solver):
    recipe = dataclasses.replace(RECIPE, solver=solver)
    found = jaxnst.stylize(cut_out, STYLES[0], network=network, recipe=recipe).image
    assert found.shape == (36, 48, 4)
    np.testing.assert_array_equal(found[..., 3], cut_out[..., 3])
    np.testing.assert_array_equal(found[:, :20, :3], CONTENT[:, :20])
    assert np.abs(found[:, 24:, :3] - CONTENT[:, 24:]).max() > 0.01
    # At another size: what the resized content is where nothing is painted.
    small = jaxnst.stylize(cut_out, STYLES[0], network=network, recipe=recipe, size=32).image
    still = np.clip(jaxnst.resize(CONTENT, (24, 32)), 0, 1)
    kept = small[..., 3] == 0
    assert 0.3 < kept.mean() < 0.5
    np.testing.assert_array_equal(small[kept][:, :3], still[kept])


def test_what_is_transparent_does_not_count(network, cut_out):
    (scale,) = Run(CONTENT, [StyleImage(STYLES[0])], network, RECIPE).schedule.scales
    edge = round(20 / 48 * scale.inner[1]) - 2
    image = helpers.picture(*scale.inner, seed=7)
    other = image.copy()
    other[:, :edge] = 0.9
    found = evaluate(network, STYLES[:1], content=cut_out, images=[image, other])
    (loss, grad), (again, slope) = found
    assert loss == again
    np.testing.assert_array_equal(grad, slope)
    assert np.all(grad[:, :edge] == 0)
    assert np.abs(grad[:, edge + 8 :]).min() > 0


def test_hidden_colours_do_not_reach_what_is_seen(network, cut_out):
    given = {"network": network, "recipe": RECIPE}
    garish = cut_out.copy()
    garish[:, :20, :3] = (1, 0, 1)
    found, plain = (jaxnst.stylize(c, STYLES[0], **given).image for c in (garish, cut_out))
    np.testing.assert_array_equal(found[:, 20:], plain[:, 20:])
    np.testing.assert_array_equal(found[:, :20, :3], garish[:, :20, :3])


def test_an_opaque_fourth_channel_is_none(network):
    opaque = np.concatenate([CONTENT, np.ones((36, 48, 1), np.float32)], axis=-1)
    given = {"network": network, "recipe": RECIPE}
    plain = jaxnst.stylize(CONTENT, STYLES[0], **given)
    found = jaxnst.stylize(opaque, STYLES[0], **given)
    np.testing.assert_array_equal(found.image, plain.image)


def test_transparent_parts_of_a_style_do_not_count(network):
    patched = np.concatenate([STYLES[0], np.ones((40, 50, 1), np.float32)], axis=-1)
    patched[:, 20:, 3] = 0
    garish = patched.copy()
    garish[:, 30:, :3] = (1, 0, 1)
    assert_equal(evaluate(network, [garish]), evaluate(network, [patched]), 0)
    plain = evaluate(network, [patched[..., :3]])
    assert abs(evaluate(network, [patched])[0][0] - plain[0][0]) > 1e-3 * plain[0][0]


# Batches.


def test_masks_and_transparency_in_a_batch_equal_single_runs(network, cut_out):
    # Three evaluations: L-BFGS amplifies rounding, to more than a ten-thousandth by the fourth.
    recipe = dataclasses.replace(RECIPE, scales=Scales(several=False, evaluations=(3,)))
    given = {"network": network, "recipe": recipe, "style_mix": None}
    contents = [CONTENT, CONTENT, cut_out, CONTENT]
    styles = [STYLES, STYLES[:1], STYLES[0], STYLES[::-1]]
    masks = [[LEFT, 1 - LEFT], [LEFT], [], [LEFT, 1 - LEFT]]
    found = stylize_batch(contents, styles, masks=masks, **given)
    for i, result in enumerate(found):
        single = jaxnst.stylize(contents[i], styles[i], masks=masks[i], **given)
        np.testing.assert_allclose(result.image, single.image, atol=1e-4)
    assert np.abs(found[0].image - found[3].image).max() > 0.01


# What is refused.


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"masks": [np.zeros((36, 48))]}, "mask 1 is black everywhere"),
        ({"masks": [np.ones((48, 36))]}, "mask 1 is 36x48 and its picture 48x36"),
        ({"masks": [np.full((36, 48), 255.0)]}, "mask 1 has values outside"),
        ({"masks": [np.ones((36, 48), np.uint8)]}, "mask 1 has dtype uint8, expected floating"),
        ({"masks": [np.ones((36, 48, 2))]}, r"mask 1 has shape \(36, 48, 2\)"),
        ({"masks": [LEFT, LEFT, LEFT]}, "3 masks for 2 styles"),
        ({"masks": [LEFT, LEFT], "style_mix": (1, 1)}, "each mask has its own style"),
        ({"style_masks": [np.ones((40, 50))]}, "1 style masks for 2 styles"),
        ({"style_mix": (1, 2, 3)}, r"style mix is \(1, 2, 3\), expected 2 weights"),
        ({"style_mix": (0, 0)}, "style mix is 0 for every style"),
        ({"style_mix": (1, -1)}, "style mix is -1.0"),
        ({"style_mix": {"relu1_1": (1, float("nan"))}}, "style mix at relu1_1 is nan"),
        ({"style_mix": {"relu1_2": (1, 1)}}, "relu1_2, which is none of the style layers"),
    ],
)
def test_what_does_not_go_together_is_refused(network, asked, said):
    with pytest.raises((TypeError, ValueError), match=said):
        jaxnst.stylize(CONTENT, STYLES, network=network, recipe=RECIPE, **asked)


def test_a_mask_may_be_a_file_or_a_pillow_image(tmp_path, network):
    recipe = dataclasses.replace(RECIPE, scales=Scales(several=False, evaluations=(1,)))
    picture = Image.fromarray(np.uint8(255 * (LEFT > 0.5)))
    picture.save(tmp_path / "mask.png")
    given = {"network": network, "recipe": recipe}
    expected = jaxnst.stylize(CONTENT, STYLES[0], masks=[LEFT > 0.5], **given).image
    for mask in (picture, tmp_path / "mask.png"):
        result = jaxnst.stylize(CONTENT, STYLES[0], masks=[mask], **given)
        np.testing.assert_array_equal(result.image, expected)


def test_pictures_of_nothing_are_refused(network, cut_out):
    given = {"network": network, "recipe": RECIPE}
    empty = np.concatenate([CONTENT, np.zeros((36, 48, 1), np.float32)], axis=-1)
    with pytest.raises(ValueError, match="content image is transparent everywhere"):
        jaxnst.stylize(empty, STYLES[0], **given)
    with pytest.raises(ValueError, match="style 2 is transparent everywhere, or wherever its mask"):
        jaxnst.stylize(CONTENT, [STYLES[0], empty], **given)
    hidden = np.zeros((36, 48), np.float32)
    hidden[:, :10] = 1
    with pytest.raises(ValueError, match="mask 1 covers only what is transparent"):
        jaxnst.stylize(cut_out, STYLES[0], masks=[hidden], **given)


def test_a_mask_does_not_hold_where_it_is_transparent():
    mask = np.ones((36, 48, 4), np.float32)
    mask[:, 24:, 3] = 0
    np.testing.assert_array_equal(check_mask("mask", mask, (36, 48)), LEFT)


def test_ten_styles_at_once(network):
    several = [helpers.picture(30 + i, 40, seed=i) for i in range(10)]
    found = jaxnst.stylize(CONTENT, several, network=network, recipe=RECIPE)
    assert np.all(np.isfinite(found.image))


def test_a_mask_may_be_of_truth_values():
    half = np.arange(36 * 48).reshape(36, 48) % 2 == 0
    for given in (half, np.stack([half] * 3, axis=2)):
        np.testing.assert_array_equal(check_mask("mask", given, (36, 48)), half.astype(np.float32))


def test_a_mask_may_be_a_picture_of_another_size():
    found = check_mask("mask", np.ones((72, 96, 3)), (36, 48))
    assert found.shape == (72, 96) and found.dtype == np.float32
