"""Training: its settings, its steps, and that a run that goes on is a run that never stopped."""

import errno
import math
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxnst.feedforward import TransformationNetwork
from jaxnst.feedforward.checkpoints import MARK, Checkpoints
from jaxnst.feedforward.crops import Batch
from jaxnst.feedforward.perceptual import grid_loss, make_loss
from jaxnst.feedforward.settings import Training
from jaxnst.feedforward.training import initial_parameters, initial_state, train, train_step
from jaxnst.losses.objective import TERMS
from jaxnst.networks import PREPROCESSING
from jaxnst.optim.sharding import default_device, mesh_of
from jaxnst.recipes.schema import Content, Style

SETTINGS = Training(steps=8, batch=4, crop=16, warmup=2, rate=0.01, optimizer="muon")
WORDS = {"rate": "0.01", "style": "sha256:1"}


@dataclass(frozen=True)
class Negative:
    """Learn to turn pictures into their negatives, through one hidden kernel."""

    def __call__(self, params, frozen, images):
        x = jnp.matmul(images, params["in"])
        x = lax.conv_general_dilated(
            x, params["hidden"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        error = jnp.mean((jnp.matmul(x, params["out"]) - (1 - images)) ** 2)
        size = frozen["decay"] * jnp.mean(params["hidden"] ** 2)
        return error + size, {"error": error, "size": size}


def parameters(seed=0):
    rng = np.random.default_rng(seed)
    shapes = {"in": (3, 8), "hidden": (3, 3, 8, 12), "out": (12, 3), "shift": (3,)}
    return {name: rng.normal(0, 0.2, shape).astype(np.float32) for name, shape in shapes.items()}


FROZEN = {"decay": jnp.float32(0.1)}


def crops(start):
    """Batch i, by its number alone."""
    while True:
        rng = np.random.default_rng(start)
        images = rng.integers(0, 256, (4, 16, 16, 3), np.uint8)
        yield Batch(images, np.array([-1, start if start == 3 else -1, -1, -1]))
        start += 1


def trained(settings=SETTINGS, **options):
    return train(Negative(), parameters(), FROZEN, crops, settings, **options)


def after(steps):
    """Say that it is enough after some steps."""
    answers = iter([False] * (steps - 1) + [True])
    return lambda: next(answers)


def equal(one, other):
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def finite(params):
    return all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))


@pytest.fixture(scope="module")
def whole():
    return trained()


# Settings.


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"steps": 0}, "steps is 0, expected 1 to"),
        ({"batch": 0}, "batch is 0, expected 1 to 4096 crops"),
        ({"crop": 8}, "crop is 8, expected 16 to 4096 pixels"),
        ({"rate": math.nan}, "rate is nan"),
        ({"warmup": -1}, "warmup is -1"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_settings_out_of_range_are_refused(changes, text):
    with pytest.raises(ValueError, match=text):
        Training(**changes)


def test_the_rate_rises_and_falls():
    settings = Training(steps=20, warmup=5, rate=2.0)
    rates = [settings.rate_at(step) for step in range(20)]
    np.testing.assert_allclose(rates[:6], [0.4, 0.8, 1.2, 1.6, 2.0, 2.0])
    assert rates[5:] == sorted(rates[5:], reverse=True) and 0 < rates[-1] < 0.05
    assert Training(steps=2, warmup=50).rate_at(0) > 0  # more warm-up than steps


# Steps.


def one_step(optimizer, rate=0.5):
    mesh = mesh_of(4, [default_device()])
    images = next(crops(0)).images
    before = initial_state(jax.tree.map(jnp.array, parameters()), optimizer)
    after, losses = train_step(
        Negative(), optimizer, mesh, before, FROZEN, jnp.asarray(images), jnp.float32(rate)
    )
    change = {n: (np.asarray(after.params[n]) - value) / rate for n, value in parameters().items()}
    return change, losses, images


def test_adam_s_first_step_is_the_gradient_s_sign():
    change, losses, images = one_step("adam")
    pixels = jnp.asarray(images, jnp.float32) / 255
    of_params = jax.jit(jax.value_and_grad(lambda p: Negative()(p, FROZEN, pixels)[0]))
    total, gradient = of_params(parameters())
    np.testing.assert_allclose(losses["total"], total, rtol=1e-6)
    np.testing.assert_allclose(losses["error"] + losses["size"], total, rtol=1e-6)
    large = np.abs(gradient["hidden"]) > 1e-5
    assert large.mean() > 0.9
    np.testing.assert_allclose(
        change["hidden"][large], -np.sign(gradient["hidden"])[large], rtol=2e-3
    )
    assert (change["shift"] == 0).all()  # it has no gradient


def test_muon_takes_hidden_kernels_as_matrices_and_leaves_the_rest_to_adam():
    change, _, images = one_step("muon")
    pixels = jnp.asarray(images, jnp.float32) / 255
    gradient = jax.jit(jax.grad(lambda p: Negative()(p, FROZEN, pixels)[0]))(parameters())
    moved, pulled = (
        np.linalg.svd(np.reshape(each["hidden"], (72, 12)), compute_uv=False)
        for each in (change, gradient)
    )
    # All directions alike, nearly, however little the gradient has of some.
    assert pulled.max() > 20 * pulled.min() and moved.max() < 3 * moved.min()
    np.testing.assert_array_equal(np.sign(change["in"]), -np.sign(gradient["in"]))
    assert np.ptp(np.abs(change["in"])) < 1e-4


def test_training_learns_and_tells(whole):
    told, losses = [], []

    def note(report):
        told.append(report)
        losses.append(report.losses["total"][-1])

    again = trained(callback=note)
    assert equal(whole.params, again.params) and whole.step == 8
    assert all(np.array_equal(whole.losses[n], again.losses[n]) for n in whole.losses)
    assert list(whole.losses) == ["total", "error", "size"]
    assert whole.losses["error"][-1] < 0.7 * whole.losses["error"][0]
    assert [report.step for report in told] == [*range(1, 9)]
    assert losses == list(whole.losses["total"])
    assert [report.broken for report in told] == [()] * 3 + [(3,)] + [()] * 4
    assert told[0].rate == SETTINGS.rate_at(0)


def test_other_numbers_compile_nothing_again(whole):
    before = train_step._cache_size()
    trained(replace(SETTINGS, steps=2, rate=0.02, warmup=1))
    assert train_step._cache_size() == before


def test_a_loss_that_is_not_finite_ends_training_and_is_not_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path / "kept", WORDS, seconds=0)
    with pytest.raises(ValueError, match=r"not finite after \d steps: .* smaller rate than 1e\+30"):
        trained(replace(SETTINGS, rate=1e30, warmup=0), checkpoints=checkpoints)
    # After the first step the loss was still that of the start; the network need not be finite.
    state = initial_state(jax.tree.map(jnp.array, parameters()), "muon")
    place = checkpoints.restore(state, ("total", "error", "size"))
    assert place is None or finite(place.state.params)


@dataclass(frozen=True)
class Edge(Negative):
    """Have a finite loss, and a gradient that is not finite."""

    def __call__(self, params, frozen, images):
        total, terms = super().__call__(params, frozen, images)
        return total + jnp.sqrt(jnp.sum(params["shift"] ** 2)), terms


@pytest.mark.parametrize("steps", [1, 2])
def test_a_network_that_is_not_finite_is_neither_kept_nor_returned(tmp_path, steps):
    checkpoints = Checkpoints(tmp_path / "kept", WORDS, seconds=0)
    start = parameters() | {"shift": np.zeros(3, np.float32)}
    settings = replace(SETTINGS, steps=steps)
    for kept in (checkpoints, None):
        with pytest.raises(ValueError, match=r"the .* is not finite after [12] steps: sta"):
            train(Edge(), start, FROZEN, crops, settings, checkpoints=kept)
    assert checkpoints.last is None


# Checkpoints.


def test_a_run_that_goes_on_is_one_that_never_stopped(tmp_path, whole):
    folder = tmp_path / "kept"
    for more in (3, 1, 2, 9):
        checkpoints = Checkpoints(folder, WORDS, seconds=3600)
        part = trained(checkpoints=checkpoints, stop=after(more))
        checkpoints.close()
    assert part.step == 8 and equal(part.params, whole.params)
    assert all(np.array_equal(part.losses[n], whole.losses[n]) for n in whole.losses)
    over = trained(checkpoints=Checkpoints(folder, WORDS), callback=pytest.fail)
    assert over.step == 8 and equal(over.params, whole.params)


def test_a_checkpoint_of_other_settings_is_refused(tmp_path):
    first = Checkpoints(tmp_path / "kept", WORDS)
    trained(replace(SETTINGS, steps=1), checkpoints=first)
    first.close()
    for words, text in (
        (
            WORDS | {"rate": "0.5"},
            "its rate is 0.01, this one 0.5; repeat the settings of that run",
        ),
        (WORDS | {"style": "sha256:2"}, "its style is another; repeat the"),
    ):
        with pytest.raises(ValueError, match=text):
            trained(checkpoints=Checkpoints(tmp_path / "kept", words))


def test_a_folder_that_is_none_of_checkpoints_or_damaged_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(NotADirectoryError, match="file is a file"):
        Checkpoints(tmp_path / "file", WORDS)
    with pytest.raises(ValueError, match="holds files other than checkpoints"):
        Checkpoints(tmp_path, WORDS)
    folder = tmp_path / "kept"
    first = Checkpoints(folder, WORDS)
    trained(replace(SETTINGS, steps=1), checkpoints=first)
    first.close()
    words = folder / "1" / "words" / "metadata"
    text = words.read_text()
    for cut in (text[:20], "{}"):
        words.write_text(cut)
        with pytest.raises(ValueError, match=r"kept is damaged .* delete it to start over"):
            trained(checkpoints=Checkpoints(folder, WORDS))
    words.write_text(text)
    shutil.rmtree(folder / "1" / "arrays")
    with pytest.raises(ValueError, match=r"kept is damaged .* delete it to start over"):
        trained(checkpoints=Checkpoints(folder, WORDS))
    (folder / MARK).write_text("jaxnst-training-9\n")
    with pytest.raises(ValueError, match="has format 'jaxnst-training-9', expected"):
        Checkpoints(folder, WORDS)


@pytest.mark.parametrize("part", ["words/metadata", "arrays"])
def test_where_the_newest_checkpoint_is_damaged_the_one_before_is_gone_on_from(tmp_path, part):
    whole = trained()
    checkpoints = Checkpoints(tmp_path / "kept", WORDS, seconds=0)
    checkpoints.due = lambda: True
    trained(checkpoints=checkpoints, stop=after(3))
    checkpoints.close()
    broken = tmp_path / "kept" / "3" / part
    if broken.is_dir():
        shutil.rmtree(broken)
    else:
        broken.write_text("{")
    checkpoints = Checkpoints(tmp_path / "kept", WORDS)
    with pytest.warns(UserWarning, match="after 3 steps is damaged, the one after 2 is not"):
        again = trained(checkpoints=checkpoints)
    checkpoints.close()
    assert equal(again.params, whole.params)
    assert checkpoints.last == SETTINGS.steps


def test_a_checkpoint_that_cannot_be_read_now_is_not_taken_for_damaged(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path / "kept", WORDS, seconds=0)
    checkpoints.due = lambda: True
    trained(checkpoints=checkpoints, stop=after(2))
    checkpoints.close()

    def restore(*_, **__):
        raise OSError(errno.EMFILE, "Too many open files")

    checkpoints = Checkpoints(tmp_path / "kept", WORDS)
    monkeypatch.setattr(checkpoints._manager, "restore", restore)
    with pytest.raises(OSError, match="Too many open files"):
        trained(checkpoints=checkpoints)
    checkpoints.close()
    assert {"1", "2"} <= {path.name for path in (tmp_path / "kept").iterdir()}


def test_a_checkpoint_that_finds_no_room_is_tried_later_and_leaves_nothing(tmp_path):
    resource = pytest.importorskip("resource")
    folder = tmp_path / "kept"
    checkpoints = Checkpoints(folder, WORDS)
    trained(checkpoints=checkpoints, stop=after(1))
    checkpoints.close()
    before = sorted(os.listdir(folder))
    checkpoints = Checkpoints(folder, WORDS, seconds=0)
    assert checkpoints.due()
    checkpoints.seconds = 3600
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(OSError, match=r"kept could not be written .*: make room"):
            trained(checkpoints=checkpoints)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert sorted(os.listdir(folder)) == before == ["1", MARK]
    assert not checkpoints.due()
    trained(checkpoints=checkpoints, stop=after(2))
    checkpoints.close()
    (folder / "9.orbax-checkpoint-tmp").mkdir()  # of a process that was killed
    assert Checkpoints(folder, WORDS).last == 3
    assert sorted(os.listdir(folder)) == ["1", "3", MARK]


def test_on_a_full_disk_no_checkpoint_is_begun(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path / "kept", WORDS)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=2**18))
    with pytest.raises(OSError, match=r"kept could not be written \(No space left on device\)"):
        trained(checkpoints=checkpoints, stop=after(1))
    assert not (tmp_path / "kept").exists()


# Devices.


SHARED_OUT = """
import jax, numpy as np, test_training as t
devices = jax.devices()
assert len(devices) == 2
settings = t.replace(t.SETTINGS, optimizer="adam", steps=3)
one, two = (t.trained(settings, devices=devices[:n]) for n in (1, 2))
for name in one.losses:
    np.testing.assert_allclose(one.losses[name], two.losses[name], rtol=1e-4)
for a, b in zip(jax.tree.leaves(one.params), jax.tree.leaves(two.params)):
    np.testing.assert_allclose(a, b, atol=1e-4)
"""


def test_devices_share_a_batch(tmp_path):
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    paths = (str(Path(__file__).parent), environment.get("PYTHONPATH", ""))
    environment |= {"PYTHONPATH": os.pathsep.join(paths), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", SHARED_OUT],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


# The beginning.


def test_parameters_begin_as_he_et_al_draw_them():
    module = TransformationNetwork(widths=(32, 64), blocks=2)
    found = initial_parameters(module.shapes(), seed=1)
    shapes = {f"{a}/{b}": v.shape for a, parts in found.items() for b, v in parts.items()}
    assert shapes == dict(module.shapes())
    kernel = np.asarray(found["res1_1"]["kernel"])
    assert kernel.std() == pytest.approx(np.sqrt(2 / (9 * 64)), rel=0.03)
    assert abs(kernel.mean()) < 1e-3
    assert (found["conv1_norm"]["gamma"] == 1).all() and (found["out"]["bias"] == 0).all()
    assert equal(found, initial_parameters(module.shapes(), seed=1))
    assert not equal(found, initial_parameters(module.shapes(), seed=2))
    half = initial_parameters(module.shapes(), seed=1, factors={"res1_1/kernel": 0.5})
    np.testing.assert_array_equal(half["res1_1"]["kernel"], kernel / 2)
    assert equal(half["out"], found["out"])


# The loss of a transformation network.


@pytest.fixture(scope="module")
def perceptual():
    """A loss, its arguments, and what they were made of."""
    network = helpers.tiny_network(PREPROCESSING["imagenet"])
    module = TransformationNetwork(widths=(4, 6), blocks=0)
    layers = (("relu1_1", 0.5), ("relu2_1", 0.3))
    recipe = helpers.tiny_recipe(content=Content(layers=layers[1:]), style=Style(layers=layers))
    style = helpers.picture(40, 60, seed=5)
    loss, frozen = make_loss(module, recipe, network, style, style_size=4096, grid=50.0)
    images = jnp.stack([helpers.picture(32, 32, seed=s) for s in (1, 2)])
    params = initial_parameters(module.shapes())
    return jax.jit(loss), (params, frozen, images), module, network, recipe, style


def test_the_loss_is_the_mean_of_what_the_optimising_path_computes(perceptual):
    loss, (params, frozen, images), module, network, recipe, style = perceptual
    total, terms = loss(params, frozen._replace(grid=jnp.zeros(())), images)
    painted = np.asarray(jax.jit(module.apply)({"params": params}, images))
    each = [
        helpers.total_loss(p, network, recipe, content=c, styles=[style])
        for p, c in zip(painted, images, strict=True)
    ]
    found = [total, *(terms[name] for name in TERMS[1:])]
    np.testing.assert_allclose(found, np.mean(each, axis=0), rtol=2e-3)


def test_the_grid_is_what_every_cell_repeats(rng):
    height, width, period = 26, 35, 4
    picture = rng.random((height, width, 3)).astype(np.float32)
    cells = [
        picture[i : i + period, j : j + period].astype(np.float64)
        for i in range(0, height - period + 1, period)
        for j in range(0, width - period + 1, period)
    ]
    expected = np.mean(cells, axis=0).reshape(-1, 3).var(axis=0).mean()
    assert float(grid_loss(jnp.asarray(picture), period=period)) == pytest.approx(expected, 1e-4)
    assert grid_loss(jnp.asarray(picture), period=1) == 0
    dots = jnp.zeros((32, 32, 3)).at[::4, ::4].set(0.8)
    assert float(grid_loss(dots, period=4)) == pytest.approx(0.8**2 * (1 / 16 - 1 / 256), 1e-5)
    moved = jnp.roll(dots, (1, 2), (0, 1))
    np.testing.assert_allclose(grid_loss(moved, period=4), grid_loss(dots, period=4), rtol=1e-6)


def test_the_loss_has_the_grid_of_what_is_painted_with_its_weight(perceptual):
    loss, (params, frozen, images), module, network, recipe, style = perceptual
    total, terms = loss(params, frozen, images)
    plain, plain_terms = loss(params, frozen._replace(grid=jnp.zeros(())), images)
    painted = jax.jit(module.apply)({"params": params}, images)
    expected = 50 * float(np.mean([grid_loss(picture, period=2) for picture in painted]))
    assert expected > 0 and plain_terms["grid"] == 0
    assert float(terms["grid"]) == pytest.approx(expected, 1e-3)
    assert float(total - plain) == pytest.approx(expected, 1e-2)
    with pytest.raises(ValueError, match="grid weight is -1"):
        make_loss(module, recipe, network, style, style_size=60, grid=-1.0)


def test_a_style_is_reduced_and_never_enlarged():
    network = helpers.tiny_network(PREPROCESSING["imagenet"])
    module, recipe = TransformationNetwork(widths=(4,), blocks=0), helpers.tiny_recipe()

    def targets(style, size):
        return make_loss(module, recipe, network, style, style_size=size)[1].style

    style = helpers.picture(40, 60, seed=5)
    assert equal(targets(style, 60), targets(style, 4096))
    assert not equal(targets(style, 60), targets(style, 48))
