"""Tiles: the loss, gradient and picture of the whole image, with less memory."""

import dataclasses
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnst
from jaxnst.losses.objective import make_objective
from jaxnst.networks import PREPROCESSING, load_network
from jaxnst.networks.registry import init_network
from jaxnst.networks.rescale import unit_means
from jaxnst.networks.tiles import make_tiling
from jaxnst.recipes import get_recipe
from jaxnst.recipes.schema import Content, Scales, Solver, Style, TotalVariation
from jaxnst.transfer import memory
from jaxnst.transfer.batch import stylize_batch
from jaxnst.transfer.memory import loop_footprint
from jaxnst.transfer.run import make_run
from jaxnst.transfer.style_cache import StyleImage

ONE_SCALE = Scales(several=False, multiple=1, evaluations=(3,))
RECIPES = {
    "covariance": helpers.tiny_recipe(scales=ONE_SCALE),
    "divided by the photograph's distance": helpers.tiny_recipe(
        style=Style(
            weight=7.0,
            layers=(("relu1_1", 0.2), ("relu2_1", 0.6), ("relu3_2", 0.2)),
            normalization="content",
        ),
        scales=ONE_SCALE,
    ),
    "sums, with the sizes of map and picture": helpers.tiny_recipe(
        content=Content(layers=(("relu2_1", 0.5), ("conv3_2", 2.0)), normalization="sum"),
        style=Style(layers=(("relu1_2", 0.3), ("pool2", 0.7)), statistic="gram", distance="keras"),
        tv=TotalVariation(weight=1e-3, kind="power"),
        pooling="avg",
        padding="reflect",
        scales=ONE_SCALE,
    ),
    "means and deviations": helpers.tiny_recipe(
        style=Style(layers=(("relu2_1", 1.0),), statistic="mean-deviation", distance="mean"),
        space=PREPROCESSING["caffe"],
        padding="zero",
        scales=ONE_SCALE,
    ),
}
DENSE = helpers.tiny_recipe(
    content=Content(layers=(("conv2_block2_concat", 1.0),)),
    style=Style(layers=(("conv1_relu", 1.0), ("pool1", 1.0), ("conv2_block1_1_conv", 1.0))),
    scales=ONE_SCALE,
)
SQUEEZED = helpers.tiny_recipe(
    content=Content(layers=(("fire4_relu_expand3x3", 1.0),)),
    style=Style(layers=(("relu_conv1", 1.0), ("fire2_concat", 1.0), ("fire4_concat", 1.0))),
    scales=ONE_SCALE,
)
SIZE = (53, 78)
"""No window divides it."""


@pytest.fixture(scope="module")
def network():
    return helpers.tiny_network(PREPROCESSING["imagenet"])


@partial(jax.jit, static_argnums=0)
def evaluate(objective, *args):
    return jax.value_and_grad(objective, has_aux=True)(*args)


def of_run(network, recipe, size, tile, *, styles=1, masks=(), opacity=None, devices=()):
    """Terms, gradient and style unit of a picture that is neither content nor style."""
    content = helpers.picture(*size, seed=1)
    if opacity is not None:
        content = np.concatenate([content, opacity[..., None]], axis=-1)
    height, width = size
    # As far from the content as paintings are from photographs.
    tint = np.float32([1, 0.5, 0.2])
    paintings = [
        tint * helpers.picture(height + 9 * i, width - 11, seed=2 + i) for i in range(styles)
    ]
    run = make_run(
        StyleImage(content),
        [StyleImage(painting) for painting in paintings],
        network,
        recipe,
        masks=masks,
        tile=tile,
        devices=devices,
    )
    params = run.tuned_parameters()
    targets = run.targets(params, run.schedule.scales[0])
    start = helpers.encode(helpers.picture(*size, seed=9), recipe.space).astype(np.float32)
    (_, terms), gradient = evaluate(run.objective, jnp.asarray(start), params, targets, run.numbers)
    return terms, gradient, targets


def distance(one, other):
    return np.linalg.norm(np.asarray(one - other)) / np.linalg.norm(np.asarray(other))


def assert_same(tiled, whole):
    for one, other in zip(jax.tree.leaves(tiled[2]), jax.tree.leaves(whole[2]), strict=True):
        assert distance(one, other) < 1e-5
    np.testing.assert_allclose(tiled[0], whole[0], rtol=1e-5)
    assert np.linalg.norm(whole[1]) > 0
    assert distance(tiled[1], whole[1]) < 1e-5


@pytest.mark.parametrize("name", RECIPES)
def test_targets_loss_and_gradient_are_those_of_the_whole(network, name):
    recipe = RECIPES[name]
    assert_same(of_run(network, recipe, SIZE, 37), of_run(network, recipe, SIZE, None))


def test_the_size_of_the_tiles_changes_nothing(network):
    recipe = RECIPES["divided by the photograph's distance"]
    whole = of_run(network, recipe, SIZE, None)
    for tile in (32, 45, 60):
        objective = make_objective(recipe, network, tile=tile)
        windows = objective.tiling(objective.layers, SIZE).windows
        assert windows == {32: 91, 45: 8, 60: 2}[tile]
        assert_same(of_run(network, recipe, SIZE, tile), whole)


def test_masks_two_styles_and_what_is_transparent(network):
    left, opacity = np.zeros(SIZE, np.float32), np.ones(SIZE, np.float32)
    left[:, :31], opacity[:20, 40:] = 1, 0
    regions = {"styles": 2, "masks": [left, 1 - left], "opacity": opacity}
    recipe = RECIPES["divided by the photograph's distance"]
    tiled, whole = (of_run(network, recipe, SIZE, tile, **regions) for tile in (36, None))
    assert_same(tiled, whole)
    assert np.all(tiled[1][:20, 40:] == 0) and np.all(tiled[1][30:] != 0)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_tile_without_any_of_a_region_is_finite(network, precision):
    corner = np.zeros(SIZE, np.float32)
    corner[:9, :9] = 1
    low = network.configure(precision=precision)
    terms, gradient, _ = of_run(low, RECIPES["covariance"], SIZE, 36, masks=[corner])
    assert np.all(np.isfinite(terms)) and np.all(np.isfinite(gradient))


@pytest.mark.parametrize(
    ("name", "recipe", "size", "tile"),
    [
        ("vgg16-lite", get_recipe("default"), (171, 275), 176),
        ("densenet121", DENSE, (53, 78), 48),
        ("squeezenet1.1", SQUEEZED, (91, 142), 96),
    ],
)
def test_every_family_of_networks(name, recipe, size, tile):
    network = load_network(name) if name == "vgg16-lite" else init_network(name)
    recipe = dataclasses.replace(recipe, scales=ONE_SCALE)
    assert_same(of_run(network, recipe, size, tile), of_run(network, recipe, size, None))


@pytest.mark.parametrize("name", ["vgg19", "densenet121", "squeezenet1.1"])
def test_the_sizes_of_feature_maps_follow_from_the_table(name):
    network = init_network(name)
    layers = network.layers[:: len(network.layers) // 9]
    for size in ((64, 97), (131, 80)):
        image = jax.ShapeDtypeStruct((*size, 3), jnp.float32)
        see = partial(network.features, layers=layers)
        shapes = jax.eval_shape(see, network.params, image)
        assert network.map_sizes(size, layers) == {n: s.shape[:2] for n, s in shapes.items()}


def test_overlaps_are_receptive_fields():
    """Of relu5_1 in a VGG16: 58 pixels to each side, 64 before and 64 after in strides of 16."""
    network = init_network("vgg16")
    tiling = make_tiling(network, ("relu1_1", "relu5_1"), (1000, 512), 512)
    rows, columns = tiling.rows, tiling.columns
    assert columns.offsets == (0,) and columns.window == 512
    assert rows.halo == 64 and rows.window == 424 and rows.offsets == (0, 288, 576)
    field = network.module.fields(1000)["relu5_1"]
    assert (field.first, field.last, field.positions) == (-58, 15 + 58, 62)


def test_pictures_are_the_same_after_three_evaluations(network):
    recipe = RECIPES["divided by the photograph's distance"]
    pair = helpers.picture(*SIZE, seed=1), helpers.picture(90, 60, seed=2)
    for kind in ("lbfgs", "adam"):
        method = dataclasses.replace(recipe, solver=Solver(kind=kind))
        whole, tiled = (
            jaxnst.stylize(*pair, network=network, recipe=method, tile=tile) for tile in (None, 40)
        )
        assert np.abs(whole.image - pair[0]).max() > 1e-3
        assert np.abs(tiled.image - whole.image).max() < 1e-4
        np.testing.assert_allclose(tiled.losses["total"], whole.losses["total"], rtol=1e-4)


SEVERAL_DEVICES = """
import sys

sys.path.insert(0, {tests!r})
import helpers
import jax
import jaxnst
import numpy as np
import test_tiles as tiles
from jaxnst.networks import PREPROCESSING

network = helpers.tiny_network(PREPROCESSING["imagenet"])
recipe = tiles.RECIPES["divided by the photograph's distance"]
whole = tiles.of_run(network, recipe, tiles.SIZE, None)
pair = helpers.picture(*tiles.SIZE, seed=1), helpers.picture(90, 60, seed=2)
alone = jaxnst.stylize(*pair, network=network, recipe=recipe, tile=40)
for count, tile in ((2, 45), (4, 37)):
    devices = jax.devices()[:count]
    shared = tiles.of_run(network, recipe, tiles.SIZE, tile, devices=devices)
    assert shared[1].sharding.device_set == set(devices)
    tiles.assert_same(shared, whole)
saved, three = [], {{"tile": 40, "devices": jax.devices()[:3]}}
shared = jaxnst.stylize(
    *pair,
    network=network,
    recipe=recipe,
    callback=lambda now: saved.append(now.checkpoint()),
    **three,
)
np.testing.assert_allclose(shared.image, alone.image, atol=1e-4)
np.testing.assert_allclose(shared.losses["total"], alone.losses["total"], rtol=1e-4)
assert 0 < saved[1].done < 3
again = jaxnst.stylize(*pair, network=network, recipe=recipe, resume=saved[1], **three)
np.testing.assert_array_equal(again.image, shared.image)
"""


def test_devices_share_the_tiles(network):
    """Numbers of tiles that the devices divide, and numbers that they do not."""
    for tile, count, rest in ((45, 2, 0), (37, 4, 1), (40, 3, 0)):
        objective = make_objective(RECIPES["covariance"], network, tile=tile)
        assert objective.tiling(objective.layers, SIZE).windows % count == rest
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    done = subprocess.run(
        [sys.executable, "-c", SEVERAL_DEVICES.format(tests=str(Path(__file__).parent))],
        env=environment | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_filters_are_rescaled_by_means_over_tiles(network):
    images = [jnp.asarray(helpers.picture(*SIZE, seed=seed)) for seed in (1, 2)]
    whole = unit_means(network, images)
    tiled = unit_means(network, images, deepest="relu2_1", tile=40)
    for layer in ("conv1_1", "conv1_2", "conv2_1"):
        np.testing.assert_allclose(tiled[layer]["kernel"], whole[layer]["kernel"], rtol=1e-5)
        assert distance(whole[layer]["kernel"], network.params[layer]["kernel"]) > 0.1


def test_side_by_side_as_alone(network):
    recipe = RECIPES["covariance"]
    contents = [helpers.picture(*SIZE, seed=seed) for seed in (1, 2)]
    style = helpers.picture(50, 60, seed=3)
    several = stylize_batch(contents, [style] * 2, network=network, recipe=recipe, tile=40)
    for content, result in zip(contents, several, strict=True):
        alone = jaxnst.stylize(content, style, network=network, recipe=recipe, tile=40)
        np.testing.assert_allclose(result.image, alone.image, atol=1e-4)


def test_a_picture_that_one_tile_holds_is_looked_at_whole(network):
    pair = helpers.picture(48, 64, seed=1), helpers.picture(64, 48, seed=2)
    recipe = RECIPES["covariance"]
    whole, tiled = (
        jaxnst.stylize(*pair, network=network, recipe=recipe, tile=tile) for tile in (None, 64)
    )
    np.testing.assert_array_equal(tiled.image, whole.image)


def test_tiles_that_hold_little_more_than_their_overlap_are_refused(network):
    with pytest.raises(ValueError, match=r"tile is 31, expected at least 32 .* overlap by 24"):
        make_objective(helpers.tiny_recipe(), network, tile=31)


@pytest.mark.parametrize("statistic", ["sliced", "histogram"])
def test_statistics_that_are_no_sums_are_refused(network, statistic):
    style = dataclasses.replace(helpers.tiny_recipe().style, statistic=statistic, distance="mean")
    recipe = helpers.tiny_recipe(style=style)
    with pytest.raises(
        ValueError, match=f"'{statistic}' of relu1_1 is not a sum .* set it to gram"
    ):
        make_objective(recipe, network, tile=64)


def test_auto_is_tiles_where_memory_is_short(network, monkeypatch):
    pair = helpers.picture(192, 256, seed=1), helpers.picture(64, 48, seed=2)
    recipe = RECIPES["covariance"]

    def make(tile):
        return make_run(StyleImage(pair[0]), [StyleImage(pair[1])], network, recipe, tile=tile)

    schedule, chosen = make(None).schedule, []
    needed = [memory.make_plan(schedule, recipe, network, tile=tile).bytes for tile in (None, 96)]
    for available in (None, *needed, 1):
        monkeypatch.setattr(memory, "available_memory", lambda _, available=available: available)
        chosen.append(make("auto").objective.tile)
    least = memory.smallest_tile(recipe, network)
    assert chosen[:2] == [None, None] and chosen[2] == 88 and chosen[3] == least == 72


def test_auto_keeps_fewer_pairs_where_tiles_do_not_fit_with_ten(network, monkeypatch):
    """The most pairs that fit with the smallest tiles; a number that the recipe sets is kept."""
    pictures = StyleImage(helpers.picture(192, 256, seed=1)), [StyleImage(helpers.picture(64, 48))]
    of_five, of_ten = (
        dataclasses.replace(RECIPES["covariance"], solver=Solver(memory=pairs)) for pairs in (5, 10)
    )
    open_number = dataclasses.replace(of_ten, solver=Solver())
    schedule = make_run(*pictures, network, of_ten).schedule
    least = memory.smallest_tile(of_ten, network)
    needed = [
        memory.make_plan(schedule, recipe, network, tile=least).bytes
        for recipe in (of_five, of_ten)
    ]
    chosen = []
    for available in (needed[1], needed[1] - 1, needed[0], needed[0] - 1):
        monkeypatch.setattr(memory, "available_memory", lambda _, available=available: available)
        run, fixed = (
            make_run(*pictures, network, recipe, tile="auto") for recipe in (open_number, of_ten)
        )
        assert fixed.method.memory == 10
        assert run.recipe.solver.memory == run.method.memory
        chosen.append((run.objective.tile, run.method.memory))
    assert [pairs for _, pairs in chosen] == [10, 5, 5, 3]
    assert chosen[0][0] == chosen[2][0] == least < chosen[1][0]


def test_the_compiled_loop_needs_less_memory():
    recipe = dataclasses.replace(get_recipe("default"), solver=Solver(kind="adam"))
    network = init_network("vgg16-lite")
    whole, tiled = (
        loop_footprint(recipe, network, (512, 512), remat=False, tile=tile) for tile in (None, 192)
    )
    assert tiled < 0.5 * whole
