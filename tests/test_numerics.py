"""JAX's numeric settings are the caller's: neither an error nor a picture depends on them."""

import os
import subprocess
import sys
from dataclasses import replace
from functools import cache

import feedforward_helpers
import helpers
import jax
import numpy as np
import pytest
import test_training

import jaxnst
from jaxnst.feedforward import paint_frames
from jaxnst.networks import PREPROCESSING
from jaxnst.recipes.schema import Scales, Solver
from jaxnst.transfer.memory import cost_of, loop_footprint
from jaxnst.transfer.reconstruct import RECIPE

SETTINGS = {
    "jax_enable_x64": (True, False),
    "jax_debug_nans": (True, False),
    "jax_debug_infs": (True, False),
    "jax_numpy_dtype_promotion": ("strict", "standard"),
    "jax_transfer_guard": ("disallow", None),
    "jax_default_prng_impl": ("rbg", "threefry2x32"),
    "jax_threefry_partitionable": (False, True),
}
"""What other code may have set, and JAX's defaults."""

CONTENT, STYLE = helpers.picture(32, 48), helpers.picture(32, 32, seed=1)
MASK = np.linspace(0, 1, 32 * 48, dtype=np.float32).reshape(32, 48)
TWO_SCALES = helpers.tiny_recipe(scales=Scales(least=16, evaluations=(3, 2)))
ADAM = replace(TWO_SCALES, solver=Solver(kind="adam", average=0.9, carry=True), init="noise")
ONE_SCALE = helpers.tiny_recipe(scales=Scales(least=48, evaluations=(4,)))
ZOOM = replace(ONE_SCALE, solver=Solver(line_search="zoom"), init="style-colors")
SHORT = replace(RECIPE, scales=replace(RECIPE.scales, evaluations=(4,)))


@cache
def network():
    return helpers.tiny_network(PREPROCESSING["imagenet"], name="tiny of the settings")


@cache
def model():
    return feedforward_helpers.model()


def painted(recipe, **options):
    return jaxnst.stylize(CONTENT, STYLE, network=network(), recipe=recipe, **options).image


def seen():
    """Paint with a step that is taken back, and look at it on the way."""
    wild = replace(ONE_SCALE, solver=Solver(learning_rate=1e30))
    found = []
    painted(wild, callback=lambda progress: found.append(progress.image()), every=1)
    return found[-1]


def resumed():
    kept = []

    def stop(progress):
        kept.append(progress.checkpoint())
        if progress.total_done == 4:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        painted(ADAM, callback=stop, every=1)
    return painted(ADAM, resume=kept[-1])


def batch():
    results = jaxnst.stylize_batch(
        [CONTENT, CONTENT], [STYLE, STYLE], network=network(), recipe=ADAM, seed=[1, 2]
    )
    return [result.image for result in results]


def reconstructed():
    options = {"network": network(), "recipe": SHORT}
    content = jaxnst.reconstruct_content(CONTENT, ["relu1_1"], **options)
    style = jaxnst.reconstruct_style(STYLE, ["relu1_1", "relu2_1"], together=True, **options)
    return [one.image for one in (*content, *style)]


ENTRIES = {
    "stylize": lambda: painted(ONE_SCALE, masks=[MASK], remat=True),
    "adam": lambda: painted(ADAM),
    "zoom": lambda: painted(ZOOM),
    "callback": seen,
    "resume": resumed,
    "batch": batch,
    "reconstruct": reconstructed,
    "instant": lambda: jaxnst.instant(CONTENT, STYLE, levels=(2, 1)),
    "apply": lambda: jaxnst.apply_model(model(), CONTENT),
    "frames": lambda: paint_frames(model(), np.uint8(255 * CONTENT[None])),
    "train": lambda: test_training.trained().params,
    "features": lambda: jaxnst.extract_features(network(), CONTENT, ["relu1_1", "relu3_2"]),
    "plan": lambda: [
        *cost_of(ADAM, network()),
        loop_footprint(ADAM, network(), (32, 48), remat=False),
    ],
}


@pytest.fixture(scope="module")
def expected():
    return {name: jax.device_get(entry()) for name, entry in ENTRIES.items()}


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_entry_point_gives_the_same_under_every_setting(setting, expected):
    changed, default = SETTINGS[setting]
    try:
        cost_of.cache_clear()
        jax.config.update(setting, changed)
        found = {name: jax.device_get(entry()) for name, entry in ENTRIES.items()}
    finally:
        jax.config.update(setting, default)
    for name, arrays in expected.items():
        for one, other in zip(jax.tree.leaves(found[name]), jax.tree.leaves(arrays), strict=True):
            assert np.asarray(one).dtype == np.asarray(other).dtype, name
            assert np.array_equal(one, other), name


def test_the_settings_are_the_callers_again_afterwards():
    with jax.enable_x64(True):
        ENTRIES["features"]()
        assert jax.numpy.zeros(()).dtype == np.float64


def test_the_command_line_paints_the_same_under_all_settings_at_once(tmp_path):
    """In the environment, as a container has them, read when JAX is imported."""
    for name, image in (("c.png", CONTENT), ("s.png", STYLE)):
        jaxnst.save_image(tmp_path / name, image)
    every = {name.upper(): str(changed) for name, (changed, _) in SETTINGS.items()}
    pictures = []
    for out, settings in (("plain.png", {}), ("changed.png", every)):
        command = [sys.executable, "-m", "jaxnst", "run", "c.png", "s.png", "-o", out]
        done = subprocess.run(
            [*command, "--steps", "4", "--size", "48", "--no-metadata", *helpers.SHALLOW],
            cwd=tmp_path,
            env=os.environ | {"XDG_CACHE_HOME": str(tmp_path)} | settings,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        pictures.append((tmp_path / out).read_bytes())
    assert pictures[0] == pictures[1]
