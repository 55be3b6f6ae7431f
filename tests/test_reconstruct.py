"""Pictures and textures made from what layers keep."""

from dataclasses import replace

import helpers
import numpy as np
import pytest

import jaxnst
from jaxnst.networks import PREPROCESSING
from jaxnst.transfer.reconstruct import (
    RECIPE,
    Reconstruction,
    reconstruct_content,
    reconstruct_style,
)

PICTURE = helpers.picture(32, 48, seed=2)
LAYERS = ("relu1_1", "relu3_1")
SHORT = replace(RECIPE, scales=replace(RECIPE.scales, evaluations=(40,)))


@pytest.fixture(scope="module")
def network():
    return helpers.tiny_network(PREPROCESSING["imagenet"], name="tiny of the reconstructions")


@pytest.fixture(scope="module")
def content(network):
    return reconstruct_content(PICTURE, LAYERS, network=network, recipe=SHORT)


@pytest.fixture(scope="module")
def style(network):
    layers = ["relu1_1", ("relu1_1", "relu2_1")]
    return reconstruct_style(PICTURE, layers, network=network, recipe=SHORT)


def relative(found, wanted):
    found, wanted = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    return np.mean((found - wanted) ** 2) / np.mean(wanted**2)


def test_content_of_a_shallow_layer_is_the_picture_and_of_a_deep_one_less(content):
    shallow, _ = content
    assert isinstance(shallow, Reconstruction)
    assert [r.layers for r in content] == [("relu1_1",), ("relu3_1",)]
    assert shallow.image.shape == PICTURE.shape and shallow.image.dtype == np.float32
    assert shallow.loss < 0.1
    errors = [np.abs(r.image - PICTURE).mean() for r in content]
    assert errors[0] < 0.2 and errors[0] < errors[1]


def test_the_loss_is_the_relative_error_of_the_layer(content, network):
    for one in content:
        (layer,) = one.layers
        pair = [jaxnst.extract_features(network, p, [layer])[layer] for p in (one.image, PICTURE)]
        # The picture is clipped to [0, 1], what was optimized is not.
        np.testing.assert_allclose(one.loss, relative(*pair), rtol=0.5, atol=1e-3)


def test_style_has_the_picture_s_gram_matrices_and_not_its_places(style, network):
    alone, merged = style
    assert (alone.layers, merged.layers) == (("relu1_1",), ("relu1_1", "relu2_1"))
    for one in style:
        for layer in one.layers:
            grams = [
                jaxnst.gram_matrix(jaxnst.extract_features(network, p, [layer])[layer])
                for p in (one.image, PICTURE)
            ]
            assert relative(*grams) < 0.1
        assert np.corrcoef(one.image.ravel(), PICTURE.ravel())[0, 1] < 0.9


def test_a_style_that_is_the_content_is_not_divided_by_their_distance(style, network):
    recipe = replace(SHORT, style=replace(SHORT.style, normalization="content"))
    (found,) = reconstruct_style(PICTURE, "relu1_1", network=network, recipe=recipe)
    np.testing.assert_array_equal(found.image, style[0].image)


@pytest.mark.parametrize("reconstruct", [reconstruct_content, reconstruct_style])
def test_a_single_layer_may_be_given_by_its_name(reconstruct, network):
    brief = replace(RECIPE, scales=replace(RECIPE.scales, evaluations=(2,)))
    (one,) = reconstruct(PICTURE, "relu1_1", network=network, recipe=brief)
    assert one.layers == ("relu1_1",)


@pytest.mark.parametrize("rounds", [None, 5])
@pytest.mark.parametrize("term", ["content", "style"])
def test_together_they_are_what_they_are_one_by_one(term, rounds, network, content, style):
    short = replace(SHORT, scales=replace(SHORT.scales, evaluations=(8,)))
    short = replace(short, solver=replace(short.solver, round=rounds))
    given = {"network": network, "recipe": short}
    if term == "content":
        separate = reconstruct_content(PICTURE, LAYERS, **given)
        together = reconstruct_content(PICTURE, LAYERS, together=True, **given)
    else:
        layers = ["relu1_1", ("relu1_1", "relu2_1")]
        separate = reconstruct_style(PICTURE, layers, **given)
        together = reconstruct_style(PICTURE, layers, together=True, **given)
    for one, other in zip(separate, together, strict=True):
        assert one.layers == other.layers
        np.testing.assert_allclose(one.loss, other.loss, rtol=1e-3)
        np.testing.assert_allclose(one.image, other.image, atol=1e-3)


def test_the_seed_decides_the_noise_and_the_size_the_picture(network):
    short = replace(SHORT, scales=replace(SHORT.scales, evaluations=(2,)))
    given = {"network": network, "recipe": short, "size": 24}
    one, same, other = (
        reconstruct_content(PICTURE, ["relu1_1"], seed=s, **given)[0].image for s in (0, 0, 1)
    )
    assert one.shape == (16, 24, 3)
    assert one.tobytes() == same.tobytes() != other.tobytes()


@pytest.mark.parametrize("together", [False, True])
def test_the_callback_counts_up_to_all_evaluations(network, together):
    short = replace(SHORT, scales=replace(SHORT.scales, evaluations=(20,)))
    told = []
    reconstruct_content(
        PICTURE, LAYERS, network=network, recipe=short, together=together, callback=told.append
    )
    counts = [t.done for t in told]
    assert counts == sorted(counts) and counts[-1] == 40
    assert {t.total for t in told} == {40}


def test_what_cannot_be_made_is_refused(network):
    with pytest.raises(KeyError, match="relu9_1"):
        reconstruct_content(PICTURE, ["relu1_1", "relu9_1"], network=network)
    for empty in ([], [()]):
        with pytest.raises(ValueError, match="layers is empty"):
            reconstruct_style(PICTURE, empty, network=network)
    with pytest.raises(ValueError, match="picture image has shape"):
        reconstruct_content(PICTURE[..., 0], ["relu1_1"], network=network)
