"""Pairs side by side against the same pairs one by one."""

import dataclasses
import os
import pickle
import subprocess
import sys
from pathlib import Path

import helpers
import jax
import numpy as np
import pytest

from jaxnst._checks import check_picture, refuse_one_array
from jaxnst.networks import PREPROCESSING, load_network
from jaxnst.optim.sharding import apart, lanes_of, mesh_of
from jaxnst.optim.solvers import advance
from jaxnst.recipes import get_recipe
from jaxnst.recipes.schema import Noise, Scales, Solver, Style
from jaxnst.transfer import runner
from jaxnst.transfer import style_cache as targets
from jaxnst.transfer.batch import PairsError, stylize_batch
from jaxnst.transfer.run import Run
from jaxnst.transfer.stylize import stylize

CONTENTS = [helpers.picture(50, 64, seed=s) for s in (1, 2, 3)]
STYLES = [helpers.picture(40, 72, seed=4), helpers.picture(64, 33, seed=5), CONTENTS[0]]
RECIPE = helpers.tiny_recipe(padding="edge", scales=Scales(least=32, evaluations=(6, 4)))
RECIPES = {
    "lbfgs": RECIPE,
    "adam from noise": dataclasses.replace(
        RECIPE,
        solver=Solver(kind="adam", average=0.9, carry=True),
        bounds=(0.0, 1.0),
        init="noise",
        noise=Noise(spread=0.1),
    ),
    "rounds": dataclasses.replace(
        RECIPE, solver=Solver(round=3, precondition=0.0), bounds=(0.2, 0.8)
    ),
}


@pytest.fixture(scope="module")
def network():
    return helpers.tiny_network(PREPROCESSING["imagenet"], name="tiny of the batches")


@pytest.mark.parametrize("name", RECIPES)
def test_a_batch_equals_its_pairs_one_by_one(network, name):
    given = {"network": network, "recipe": RECIPES[name]}
    found = stylize_batch(CONTENTS, STYLES, seed=[0, 1, 2], **given)
    for i, (content, style) in enumerate(zip(CONTENTS, STYLES, strict=True)):
        single = stylize(content, style, seed=i, **given)
        assert found[i].image.shape == single.image.shape
        assert found[i].evaluations == single.evaluations == 10
        counted = [[(t.size, t.evaluations) for t in r.timings] for r in (found[i], single)]
        assert counted[0] == counted[1] and len(counted[0]) == 2
        assert sum(t.run_seconds for t in found[i].timings) == found[i].run_seconds > 0
        for term, values in single.losses.items():
            np.testing.assert_allclose(found[i].losses[term], values, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(found[i].image, single.image, atol=2e-3)


def test_a_few_evaluations_agree_to_a_ten_thousandth_above_32k_pixels():
    """More elements than those above which jit(vmap) was reported to miscompile (JAX 39103).

    Four evaluations: L-BFGS amplifies rounding, to more than that by the tenth with JAX 0.10.0.
    """
    contents = [helpers.picture(192, 192, seed=s) for s in (1, 2)]
    styles = [helpers.picture(128, 160, seed=3), helpers.picture(192, 192, seed=4)]
    scales = Scales(several=False, evaluations=(4,))
    recipe = dataclasses.replace(helpers.tiny_recipe(), scales=scales)
    network = helpers.tiny_network(PREPROCESSING["imagenet"], name="tiny of the large batch")
    given = {"network": network, "recipe": recipe}
    for one, content, style in zip(
        stylize_batch(contents, styles, **given), contents, styles, strict=True
    ):
        single = stylize(content, style, **given)
        np.testing.assert_allclose(one.losses["total"], single.losses["total"], rtol=1e-4)
        np.testing.assert_allclose(one.image, single.image, atol=1e-4)


def test_a_pair_without_a_finite_loss_costs_itself(network):
    # A loss of about 1e41, so that no order of the products keeps it or its gradient finite.
    layers = tuple((name, 1e12) for name, _ in RECIPE.style.layers)
    large = dataclasses.replace(RECIPE, style=Style(layers=layers, weight=1e30))
    given = {"network": network, "recipe": [RECIPE, large, RECIPE]}
    with pytest.raises(PairsError, match=r"pair 1: no step had .+ style weight 1e\+30") as raised:
        stylize_batch(CONTENTS, STYLES, **given)
    assert [*raised.value.errors] == [1] and sorted(raised.value.results) == [0, 2]
    (alone,) = stylize_batch(CONTENTS, STYLES, only=[2], **given)
    np.testing.assert_array_equal(raised.value.results[2].image, alone.image)
    again = pickle.loads(pickle.dumps(raised.value))
    assert str(again) == str(raised.value) and [*again.errors] == [1]


@pytest.mark.slow
def test_final_losses_agree_within_a_hundredth_with_the_network_that_ships(optimized):
    """On average: L-BFGS amplifies rounding, which makes single pairs differ by one or two."""
    contents = [helpers.picture(64, 80, seed=s) for s in range(1, 9)]
    styles = STYLES[:2] * 4
    recipe = get_recipe("default")
    # With the term divided, and so as strong, losses differ by up to two hundredths.
    recipe = dataclasses.replace(
        recipe, style=dataclasses.replace(recipe.style, weight=3.0, normalization="none")
    )
    given = {"network": load_network("vgg16-lite"), "recipe": recipe}
    ratios = []
    for one, content, style in zip(
        stylize_batch(contents, styles, **given), contents, styles, strict=True
    ):
        several, single = one.losses["total"], stylize(content, style, **given).losses["total"]
        np.testing.assert_allclose(several[:4], single[:4], rtol=1e-4)
        ratios.append(several[-1] / single[-1])
    np.testing.assert_allclose(ratios, 1, atol=0.03)
    np.testing.assert_allclose(np.mean(ratios), 1, atol=0.01)


def test_numbers_differ_within_one_program(network):
    recipes = [
        dataclasses.replace(RECIPE, style=dataclasses.replace(RECIPE.style, weight=w))
        for w in (1.0, 30.0)
    ]
    content, style = CONTENTS[0], STYLES[0]
    stylize_batch([content] * 2, [style] * 2, network=network, recipe=[RECIPE] * 2)
    before = advance._cache_size()
    found = stylize_batch([content] * 2, [style] * 2, network=network, recipe=recipes)
    assert advance._cache_size() == before
    for one, recipe in zip(found, recipes, strict=True):
        single = stylize(content, style, network=network, recipe=recipe)
        np.testing.assert_allclose(one.losses["total"], single.losses["total"], rtol=1e-3)
    ratio = found[1].losses["style"][0] / found[0].losses["style"][0]
    np.testing.assert_allclose(ratio, 30, rtol=1e-4)


def test_pairs_of_different_shapes_and_methods_run_after_one_another(network):
    contents = [*CONTENTS[:2], helpers.picture(64, 50, seed=6)]
    recipes = [RECIPE, RECIPES["rounds"], RECIPES["adam from noise"]]
    told = []
    found = stylize_batch(contents, STYLES, network=network, recipe=recipes, callback=told.append)
    assert [r.image.shape for r in found] == [c.shape for c in contents]
    assert [t.pairs for t in told if t.done in (10, 20, 30)] == [(0,), (1,), (2,)]
    for one, content, style, recipe in zip(found, contents, STYLES, recipes, strict=True):
        single = stylize(content, style, network=network, recipe=recipe)
        np.testing.assert_array_equal(one.image, single.image)  # each of them alone


def test_at_once_bounds_how_many_run_side_by_side(network):
    told = []
    found = stylize_batch(
        CONTENTS, STYLES, network=network, recipe=RECIPE, at_once=2, callback=told.append
    )
    assert {t.pairs for t in told} == {(0, 1), (2,)}
    whole = stylize_batch(CONTENTS, STYLES, network=network, recipe=RECIPE)
    for one, other in zip(found, whole, strict=True):
        np.testing.assert_allclose(one.losses["total"], other.losses["total"], rtol=1e-3)


def test_some_of_a_batch_are_painted_as_they_are_among_all(network):
    """To the byte, and counted alone."""
    given = {"network": network, "recipe": RECIPE, "at_once": 2}
    whole = stylize_batch(CONTENTS, STYLES, **given)
    told = []
    found = stylize_batch(CONTENTS, STYLES, only=[2, 1], callback=told.append, **given)
    for one, other in zip(found, (whole[2], whole[1]), strict=True):
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.losses["total"], other.losses["total"])
    assert {t.pairs for t in told} == {(1,), (2,)} and told[-1].done == told[-1].total == 20


def test_styles_are_looked_at_once_for_each_size(network, monkeypatch):
    sizes, plain = [], targets.summaries_of
    monkeypatch.setattr(
        targets,
        "summaries_of",
        lambda *given, **more: sizes.append(given[2].shape[:2]) or plain(*given, **more),
    )
    given = {"network": network, "recipe": RECIPE, "store": targets.StyleCache()}
    for contents in (CONTENTS, CONTENTS[:2]):
        stylize_batch(contents, [STYLES[:2], STYLES[0], STYLES[1]][: len(contents)], **given)
    assert sorted(sizes) == [(18, 32), (32, 17), (36, 64), (64, 33)]


@pytest.mark.parametrize(
    ("count", "most", "devices", "lanes"),
    [
        (10, 8, 1, 5),
        (10, None, 1, 10),
        (9, 8, 1, 5),
        (1, 8, 4, 1),
        (3, 8, 4, 3),
        (10, 8, 4, 8),
        (5, None, 4, 8),
        (7, 3, 4, 3),
        (20, 9, 2, 8),
    ],
)
def test_batches_are_few_and_of_one_size_for_all_devices(count, most, devices, lanes):
    assert lanes_of(count, most, devices) == lanes
    assert most is None or lanes <= most


SEVERAL_DEVICES = """
import dataclasses, sys
import jax, numpy as np
sys.path.insert(0, {tests!r})
import helpers
from jaxnst import stylize_batch
from jaxnst.optim import sharding as lanes
from jaxnst.recipes.schema import Scales, Solver, Style
from jaxnst.networks import PREPROCESSING

recipe = helpers.tiny_recipe(
    padding="edge",
    scales=Scales(several=False, evaluations=(4,)),
    solver=Solver(precondition=0.0),
    style=Style(layers=(("relu2_1", 1.0),)),
)
given = {{"network": helpers.tiny_network(PREPROCESSING["imagenet"]), "recipe": recipe}}
contents = [helpers.picture(32, 48, seed=s) for s in range(7)]
styles = [helpers.picture(40, 32, seed=10 + s) for s in range(7)]
devices = jax.devices()
assert len(devices) == 4
results = {{}}
for count in (1, 2, 4):
    told = []
    mesh = lanes.mesh_of(lanes.lanes_of(7, 4, count), devices[:count])
    assert mesh.size == count
    results[count] = stylize_batch(
        contents, styles, devices=devices[:count], at_once=4, callback=told.append, **given
    )
    assert len(results[count]) == 7 and told[-1].done == told[-1].total == 28
for count in (2, 4):
    for one, other in zip(results[count], results[1], strict=True):
        np.testing.assert_allclose(one.image, other.image, atol=1e-5)
on_last = stylize_batch(contents[:1], styles[:1], devices=devices[3:], **given)[0]
np.testing.assert_array_equal(on_last.image, results[4][0].image)
"""


def test_devices_share_the_pairs(tmp_path):
    """Four of them, of which each loops over its own pairs."""
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    code = SEVERAL_DEVICES.format(tests=str(Path(__file__).parent))
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment | {"JAX_PLATFORMS": "cpu"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_callback_counts_up_to_all_evaluations_and_may_stop(network, monkeypatch):
    monkeypatch.setattr(runner, "CHUNK_SECONDS", 0.0)
    told = []
    stylize_batch(CONTENTS, STYLES, network=network, recipe=RECIPE, callback=told.append)
    assert [t.done for t in told] == list(range(3, 33, 3))
    assert {t.total for t in told} == {30} and {t.scale for t in told} == {0, 1}

    class Stop(Exception):
        pass

    def stop(_):
        raise Stop

    with pytest.raises(Stop):
        stylize_batch(CONTENTS, STYLES, network=network, recipe=RECIPE, callback=stop)


def test_pictures_are_shared_and_so_are_parameters_rescaled_over_them(network):
    recipe = dataclasses.replace(RECIPE, unit_means=True)
    told = []
    content, style = CONTENTS[0], STYLES[0]
    found = stylize_batch(
        [content, content, CONTENTS[1]],
        [style, style, style],
        network=network,
        recipe=recipe,
        callback=told.append,
    )
    assert {t.pairs for t in told} == {(0, 1), (2,)}
    single = stylize(content, style, network=network, recipe=recipe)
    np.testing.assert_allclose(found[1].losses["total"], single.losses["total"], rtol=1e-3)
    assert check_picture("content", content) is content


def test_a_single_path_is_no_sequence_of_pictures():
    with pytest.raises(ValueError, match=r"contents is a single .*, expected a sequence of pict"):
        stylize_batch("content.jpg", [STYLES[0]])
    with pytest.raises(ValueError, match=r"styles is a single .*, expected one entry for each"):
        stylize_batch([CONTENTS[0]], "style.jpg")


def test_several_styles_for_one_content(network):
    both = stylize_batch(CONTENTS[:2], [STYLES[:2], STYLES[1]], network=network, recipe=RECIPE)
    single = stylize(CONTENTS[0], STYLES[:2], network=network, recipe=RECIPE)
    np.testing.assert_allclose(both[0].losses["total"], single.losses["total"], rtol=1e-3)


def test_a_step_of_a_batch_is_one_pass_of_the_network(network):
    """Convolutions in the batch's program: as many as in a single pair's, each over a batch."""
    runs = [Run(c, [s], network, RECIPE) for c, s in zip(CONTENTS, STYLES, strict=True)]

    def convolutions(function, *arguments):
        return str(jax.make_jaxpr(function)(*arguments)).count("conv_general_dilated[")

    def loop(runs):
        batch = runner.Programs(runs, mesh=mesh_of(len(runs), jax.devices()[:1]))
        scale = batch.scales[0]
        blank = np.zeros((len(runs), *scale.inner, 3), np.float32)
        targets = apart(
            batch.mesh, [run.targets(network.params, run.schedule.scales[0]) for run in runs]
        )
        states = batch.begin(0, blank, None)
        batch.params = network.params
        return convolutions(lambda *given: batch.advance(*given, 1, 1), targets, states)

    assert loop(runs) == loop(runs[:1]) > 0


def test_one_picture_in_the_place_of_several_is_refused(network):
    given = {"network": network, "recipe": RECIPE}
    stack = np.stack([CONTENTS[0]] * 2)
    with pytest.raises(ValueError) as raised:
        stylize_batch(stack, CONTENTS[0], **given)
    assert str(raised.value) == (
        "styles is one array of shape (50, 64, 3), expected one entry for each content: [style] * 2"
    )
    with pytest.raises(ValueError, match=r"contents is one array of shape \(50, 64, 3\), expected"):
        stylize_batch(CONTENTS[0], STYLES, **given)
    for shape in ((50, 64), (2, 50, 64)):  # jaxtyping is in the way of stylize_batch itself
        with pytest.raises(ValueError, match="masks is one array of shape"):
            refuse_one_array("masks", np.ones(shape), 3, "a sequence")
    assert stylize_batch(stack, stack, only=[], **given) == []
    assert stylize_batch(stack, [CONTENTS[0]] * 2, only=[], **given) == []


def test_what_does_not_fit_together_is_refused(network):
    given = {"network": network, "recipe": RECIPE}
    assert stylize_batch([], [], **given) == stylize_batch(CONTENTS, STYLES, only=[], **given) == []
    with pytest.raises(ValueError, match="2 styles for 3 contents"):
        stylize_batch(CONTENTS, STYLES[:2], **given)
    with pytest.raises(ValueError, match="2 seeds for 3 contents"):
        stylize_batch(CONTENTS, STYLES, seed=[1, 2], **given)
    with pytest.raises(ValueError, match="1 recipes for 3 contents"):
        stylize_batch(CONTENTS, STYLES, network=network, recipe=[RECIPE])
    with pytest.raises(TypeError, match="unknown option 'stpes': did you mean 'steps'"):
        stylize_batch(CONTENTS, STYLES, stpes=3, **given)
    with pytest.raises(ValueError, match="at_once is 0"):
        stylize_batch(CONTENTS, STYLES, at_once=0, **given)
    with pytest.raises(ValueError, match="devices is empty"):
        stylize_batch(CONTENTS, STYLES, devices=[], **given)
    with pytest.raises(ValueError, match="only has pair 3, expected numbers from 0 to 2"):
        stylize_batch(CONTENTS, STYLES, only=[0, 3], **given)
    with pytest.raises(ValueError, match="pair 1: content image has values outside"):
        stylize_batch([CONTENTS[0], 255 * CONTENTS[1]], STYLES[:2], **given)
