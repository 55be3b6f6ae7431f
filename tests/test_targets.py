"""Moments of styles: the right ones, each computed once, and no more kept than allowed."""

import dataclasses
import gc
import threading
from concurrent.futures import ThreadPoolExecutor

import helpers
import jax
import numpy as np
import pytest

from jaxnst.image import resize
from jaxnst.losses.objective import make_objective
from jaxnst.networks import PREPROCESSING
from jaxnst.recipes.schema import Scales
from jaxnst.transfer import style_cache as targets
from jaxnst.transfer.run import Run
from jaxnst.transfer.style_cache import StyleCache, StyleImage

CONTENT, STYLE = helpers.picture(40, 48, seed=1), helpers.picture(50, 64, seed=2)
SIZE = (25, 32)
RECIPE = helpers.tiny_recipe(scales=Scales(least=32, evaluations=(2,)))


@pytest.fixture(scope="module")
def network():
    return helpers.tiny_network(PREPROCESSING["imagenet"], name="tiny of the targets")


@pytest.fixture
def computed(monkeypatch):
    """Sizes of the styles whose moments are computed."""
    sizes, plain = [], targets.summaries_of

    def watch(objective, params, image, **more):
        sizes.append(image.shape[:2])
        return plain(objective, params, image, **more)

    monkeypatch.setattr(targets, "summaries_of", watch)
    return sizes


def ask(store, network, *, style=STYLE, size=SIZE, params=None, **more):
    params = network.params if params is None else params
    return store.summaries(make_objective(RECIPE, network), params, StyleImage(style), size, **more)


def test_moments_are_those_of_the_style_at_that_size(network):
    found = ask(StyleCache(), network)
    features = helpers.vgg_features(
        helpers.encode(resize(STYLE, SIZE), network.preprocessing), helpers.flat(network.params)
    )
    assert list(found) == ["relu1_1", "relu2_1", "relu3_2"]
    for name, moments in found.items():
        vectors = features[name].reshape(-1, features[name].shape[-1])
        np.testing.assert_allclose(moments.mean, vectors.mean(0), rtol=1e-4, atol=1e-5)
        second = vectors.T @ vectors / len(vectors)
        np.testing.assert_allclose(moments.second, second, rtol=1e-4, atol=1e-5)


def test_they_are_computed_once_for_a_style_a_size_and_a_network(network, computed):
    store = StyleCache()
    for _ in range(2):
        ask(store, network)
        ask(store, network, style=STYLE.copy())
    assert computed == [SIZE]
    ask(store, network, size=(20, 26))
    ask(store, network, style=STYLE[:, ::-1])
    assert computed == [SIZE, (20, 26), SIZE]


def test_other_parameters_have_other_moments(network, computed):
    store = StyleCache()
    first = ask(store, network)
    retrained = helpers.tiny_network(network.preprocessing, seed=7, name=network.name)
    assert retrained == network  # parameters do not count
    other = ask(store, retrained)
    assert np.abs(other["relu1_1"].mean - first["relu1_1"].mean).max() > 0.01
    doubled = jax.tree.map(lambda leaf: 2 * leaf, network.params)
    tuned = ask(store, network, params=doubled, tuning="doubled")
    np.testing.assert_allclose(tuned["relu1_1"].mean, 2 * first["relu1_1"].mean, rtol=1e-5)
    assert len(computed) == 3
    # And where one layer is exchanged, the others being the very same arrays.
    layer = {"kernel": 3 * network.params["conv3_1"]["kernel"]} | {
        "bias": network.params["conv3_1"]["bias"]
    }
    patched = dataclasses.replace(network, params=network.params | {"conv3_1": layer})
    assert np.any(ask(store, patched)["relu3_2"].mean != first["relu3_2"].mean)


def test_parameters_are_not_kept_alive(computed):
    store = StyleCache()
    for seed in range(3):
        network = helpers.tiny_network(PREPROCESSING["imagenet"], seed=seed, name="tiny, gone")
        ask(store, network)
        del network
        gc.collect()
    # The first is JAX's, as the static argument that its program was compiled for.
    assert len(computed) == 3 and len(store._owners) == 2


def test_the_least_recently_used_go_first(network, computed):
    one = sum(leaf.nbytes for leaf in jax.tree.leaves(ask(StyleCache(), network)))
    store = StyleCache(most_bytes=2 * one)
    sizes = [(25, 32), (24, 32), (23, 32)]
    computed.clear()
    for size in (*sizes[:2], sizes[0], sizes[2], sizes[0]):
        ask(store, network, size=size)
    assert computed == sizes and store._bytes == 2 * one
    ask(store, network, size=sizes[1])
    assert computed == [*sizes, sizes[1]]


def test_threads_wait_for_one_another(network, monkeypatch):
    entered, calls, plain = threading.Barrier(4), [], targets.summaries_of

    def slow(*arguments, **more):
        calls.append(1)
        return plain(*arguments, **more)

    monkeypatch.setattr(targets, "summaries_of", slow)
    store = StyleCache()

    def task(_):
        entered.wait()
        return ask(store, network)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(task, range(4)))
    assert len(calls) == 1 and all(one is found[0] for one in found)


def test_what_failed_is_tried_again(network, monkeypatch):
    store, plain = StyleCache(), targets.summaries_of

    def fail(*_, **__):
        raise MemoryError("no room")

    monkeypatch.setattr(targets, "summaries_of", fail)
    with pytest.raises(MemoryError):
        ask(store, network)
    monkeypatch.setattr(targets, "summaries_of", plain)
    assert ask(store, network)


def test_runs_that_share_a_store_share_their_styles(network, computed):
    store = StyleCache()
    for content in (CONTENT, CONTENT[::-1].copy()):
        run = Run(content, [STYLE, CONTENT], network, RECIPE, store=store)
        run.targets(network.params, run.schedule.scales[0])
    assert len(computed) == 2


def test_runs_of_their_own_parameters_share_them_only_where_these_are_the_same(network):
    own = dataclasses.replace(RECIPE, unit_means=True)
    runs = [
        Run(content, [STYLE], network, recipe)
        for content, recipe in ((CONTENT, own), (CONTENT, own), (STYLE, own), (CONTENT, RECIPE))
    ]
    assert runs[0].tuning == runs[1].tuning
    assert len({run.tuning for run in runs}) == 3
