"""Pictures as they are handed to entry points: their range, and their channels last."""

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from feedforward_helpers import model

import jaxnst
from jaxnst._checks import OVERSHOOT, check_picture
from jaxnst.image import fill_hidden, resize, resize_rgba
from jaxnst.networks import PREPROCESSING
from jaxnst.transfer.masks import check_mask

EDGE = np.repeat(np.repeat(np.arange(10) > 4, 3)[None, :, None], 20, axis=0).astype(np.float32)
BOARD = np.repeat(EDGE, 3, axis=2)
"""Black and white, with an edge beside which resampling overshoots."""

PICTURE = helpers.picture(32, 40, seed=4)


@pytest.fixture(scope="module")
def network():
    return helpers.tiny_network(PREPROCESSING["imagenet"], name="tiny of the pictures")


# Range


def overshooting():
    """A picture a little beyond black and white."""
    least, greatest = PICTURE.min(), PICTURE.max()
    return (PICTURE - least) / (greatest - least) * np.float32(1.08) - np.float32(0.04)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, jnp.bfloat16])
def test_a_small_overshoot_is_clipped(dtype):
    free = overshooting().astype(dtype)
    before = free.copy()
    found = check_picture("content", free)
    assert found.dtype == np.float32 and found.flags.c_contiguous
    np.testing.assert_array_equal(found, np.clip(free, 0, 1).astype(np.float32))
    np.testing.assert_array_equal(free, before)
    np.testing.assert_array_equal(check_mask("mask", free[..., 0], (32, 40)), found[..., 0])


def test_a_picture_in_range_is_not_copied():
    assert check_picture("content", PICTURE) is PICTURE


@pytest.mark.parametrize("value", [-OVERSHOOT - 1e-3, 1 + OVERSHOOT + 1e-3])
def test_more_is_refused(value):
    image = PICTURE.copy()
    image[3, 5, 1] = value
    with pytest.raises(
        ValueError, match=r"content image has values outside \[0, 1\], .*: clip them"
    ):
        check_picture("content", image)


@pytest.mark.parametrize("size", [(17, 25), (64, 90)])
def test_what_resize_returns_is_taken_as_it_is(size):
    found = resize(BOARD, size)
    assert found.min() == 0 and found.max() == 1
    assert check_picture("content", found) is found


def test_entry_points_clip_an_overshoot(network):
    free = overshooting()
    clipped = free.clip(0, 1)
    recipe = helpers.tiny_recipe()
    results = [
        jaxnst.stylize(p, [p], network=network, recipe=recipe, init=p).image
        for p in (free, clipped)
    ]
    np.testing.assert_array_equal(*results)
    painted = [jaxnst.instant(p, [p], levels=(1,)) for p in (free, clipped)]
    np.testing.assert_array_equal(*painted)
    np.testing.assert_array_equal(*(jaxnst.apply_model(model(), p) for p in (free, clipped)))


def test_features_of_values_out_of_range_are_refused(network):
    def features(image):
        return jaxnst.extract_features(network, image, "relu1_1")["relu1_1"]

    for image in (255 * PICTURE, jnp.asarray(255 * PICTURE)):
        with pytest.raises(ValueError, match=r"image has values outside .*: divide 8-bit values"):
            features(image)
    with pytest.raises(ValueError, match="image has values that are not finite"):
        features(np.nan * PICTURE)
    with pytest.raises(TypeError, match="image has dtype uint8"):
        features(np.uint8(255 * PICTURE))
    expected = features(overshooting())
    # What is traced has no values to look at.
    np.testing.assert_array_equal(jax.jit(features)(overshooting()), expected)
    assert np.isfinite(jax.grad(lambda x: features(x).sum())(jnp.asarray(PICTURE))).all()


# Channels first

FIRST = np.ascontiguousarray(np.moveaxis(PICTURE, -1, 0))


def entry_points(network):
    """Calls that take a picture, by name, and what each expects."""
    three = r"\(height, width, 3\)"
    given = {"network": network, "recipe": helpers.tiny_recipe()}
    return {
        "content": (lambda p: jaxnst.stylize(p, [PICTURE], **given), three),
        "style": (lambda p: jaxnst.stylize(PICTURE, p, **given), three),
        "one of two styles": (lambda p: jaxnst.stylize(PICTURE, [PICTURE, p], **given), three),
        "init": (lambda p: jaxnst.stylize(PICTURE, PICTURE, init=p, **given), three),
        "mask": (
            lambda p: jaxnst.stylize(PICTURE, PICTURE, masks=[p], **given),
            r"\(height, width\)",
        ),
        "batch": (lambda p: jaxnst.stylize_batch([p], [PICTURE], **given), three),
        "instant": (lambda p: jaxnst.instant(p, PICTURE), three),
        "style of instant": (lambda p: jaxnst.instant(PICTURE, p), three),
        "reconstruct": (lambda p: jaxnst.reconstruct_content(p, ["relu1_1"], **given), three),
        "features": (lambda p: jaxnst.extract_features(network, p, "relu1_1"), three),
        "apply": (lambda p: jaxnst.apply_model(model(), p), three),
        "save": (lambda p: jaxnst.save_image("never.png", p), r"\(height, width, 3 or 4\)"),
        "resize": (lambda p: jaxnst.resize(p, (20, 20)), r"\(height, width, channels\)"),
        "resize_rgba": (lambda p: resize_rgba(p, (20, 20)), r"\(height, width, 4\)"),
        "fill_hidden": (fill_hidden, r"\(height, width, 4\)"),
    }


@pytest.mark.parametrize("which", entry_points(None))
def test_channels_first_are_refused_by_name(network, which, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call, expected = entry_points(network)[which]
    with pytest.raises(
        ValueError, match=rf"has shape \(3, 32, 40\), expected {expected}"
    ) as caught:
        call(FIRST)
    message = str(caught.value)
    assert "\n" not in message
    if which != "mask":
        assert "move its channels to the end" in message
    assert not list(tmp_path.iterdir())


def test_four_axes_of_a_model_are_a_batch():
    with pytest.raises(ValueError, match=r"shape \(2, 3, 32, 40\), expected .*: move its channels"):
        jaxnst.apply_model(model(), np.stack([FIRST, FIRST]))
