"""Whole runs on small pictures, with random networks."""

import dataclasses
import io
import re
import subprocess
import sys
import threading

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest

import jaxnst
from jaxnst.image import resize, save_image
from jaxnst.losses.objective import TERMS
from jaxnst.networks import PREPROCESSING, init_network, make_network
from jaxnst.optim import solvers as optimize
from jaxnst.recipes import get_recipe
from jaxnst.recipes.schema import (
    Approximation,
    Content,
    Noise,
    Scales,
    Solver,
    Style,
    TotalVariation,
)
from jaxnst.transfer import run as running
from jaxnst.transfer import runner
from jaxnst.transfer import style_cache as targets
from jaxnst.transfer.batch import stylize_batch
from jaxnst.transfer.result import Progress, StylizeResult
from jaxnst.transfer.stylize import stylize

CONTENT = helpers.picture(50, 64, seed=1)
STYLE = helpers.picture(40, 72, seed=2)
OTHER_STYLE = helpers.picture(64, 33, seed=3)
TWO_SCALES = helpers.tiny_recipe(scales=Scales(least=32, evaluations=(5, 4)))
ONE_SCALE = helpers.tiny_recipe(scales=Scales(least=64, evaluations=(6,)))


# Adam in another space, from noise: one program for two tests.
ELSEWHERE = dataclasses.replace(
    ONE_SCALE,
    solver=Solver(kind="adam", learning_rate=2.0, average=0.9),
    space=PREPROCESSING["caffe"],
    bounds=(-100.0, 100.0),
    tv=TotalVariation(weight=1e-5),
    init="noise",
    noise=Noise(spread=10.0),
)


@pytest.fixture(scope="module")
def network():
    """With a name of its own, so that no other module has compiled its programs."""
    return helpers.tiny_network(PREPROCESSING["imagenet"], name="tiny of the transfers")


def programs():
    """How many loops and targets there are compiled."""
    compiled = (
        optimize._advance_over,
        targets.targets_of,
        targets.summaries_of,
        targets.mixed_styles,
    )
    return np.array([program._cache_size() for program in compiled])


@pytest.fixture(scope="module")
def first(network):
    """The first run of all, and how many programs it compiled."""
    before = programs()
    return run(network), programs() - before


def run(network, *, content=CONTENT, styles=STYLE, recipe=TWO_SCALES, **more):
    return stylize(content, styles, network=network, recipe=recipe, **more)


def with_init(recipe, init):
    return dataclasses.replace(recipe, init=init)


def only_looking(recipe):
    """One evaluation per scale: L-BFGS looks at the start and stays there."""
    return dataclasses.replace(recipe, scales=dataclasses.replace(recipe.scales, evaluations=(1,)))


# Results.


def test_a_run_gives_a_picture_its_losses_and_its_counts(first):
    result, _ = first
    assert isinstance(result, StylizeResult)
    assert result.image.shape == CONTENT.shape and result.image.dtype == np.float32
    assert result.image.min() >= 0 and result.image.max() <= 1
    assert result.evaluations == 9 and result.restarts == 0
    assert tuple(result.losses) == TERMS
    for values in result.losses.values():
        assert values.shape == (9,) and np.all(np.isfinite(values))
    parts = sum(result.losses[name] for name in TERMS[1:])
    np.testing.assert_allclose(result.losses["total"], parts, rtol=1e-5)
    for first, last in ((0, 4), (5, 8)):
        assert result.losses["total"][last] < result.losses["total"][first]
    assert result.compile_seconds >= 0 and result.run_seconds > 0


def test_every_scale_has_its_timing(network, first):
    for result in (first[0], run(network, recipe=ONE_SCALE)):
        assert sum(t.compile_seconds for t in result.timings) == result.compile_seconds
        assert sum(t.run_seconds for t in result.timings) == result.run_seconds
        assert all(t.compile_seconds >= 0 and t.run_seconds > 0 for t in result.timings)
    sizes = [(t.size, t.evaluations) for t in first[0].timings]
    assert sizes == [((32, 32), 5), ((48, 64), 4)]


def test_the_first_loss_of_a_run_equals_float64(network):
    """Resizing, encoding, targets and loss together."""
    result = run(network, styles=[STYLE, OTHER_STYLE], recipe=ONE_SCALE)
    inner = resize(CONTENT, (48, 64))
    styles = [resize(STYLE, (36, 64)), OTHER_STYLE]
    expected = helpers.total_loss(inner, network, ONE_SCALE, inner, styles)
    found = [result.losses[name][0] for name in TERMS]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-9)


def test_the_bundled_architecture_runs_the_default_recipe_as_it_is():
    recipe = dataclasses.replace(get_recipe("default"), scales=Scales(least=32, evaluations=(3,)))
    result = stylize(CONTENT, STYLE, network=init_network("vgg16-lite"), recipe=recipe, size=48)
    assert result.image.shape == (38, 48, 3)
    assert result.evaluations == 3 and np.all(np.isfinite(result.losses["total"]))


@pytest.mark.parametrize(
    ("size", "shape"),
    [(None, (50, 64, 3)), (64, (50, 64, 3)), (40, (31, 40, 3)), (33, (26, 33, 3))],
)
def test_the_picture_has_exactly_the_size_asked_for(network, size, shape):
    result = run(network, recipe=only_looking(ONE_SCALE), size=size)
    assert result.image.shape == shape


def test_the_content_may_be_enlarged(network):
    small = helpers.picture(16, 20)
    result = run(network, content=small, recipe=only_looking(ONE_SCALE), size=64)
    assert result.image.shape == (51, 64, 3)


# Starts.


def test_a_run_starts_from_the_content(network):
    whole = helpers.picture(48, 64)
    result = run(network, content=whole, recipe=only_looking(ONE_SCALE))
    np.testing.assert_allclose(result.image, whole, atol=1e-6)


def test_a_run_may_start_from_the_first_style(network):
    recipe = with_init(only_looking(ONE_SCALE), "style")
    result = run(network, recipe=recipe, styles=[STYLE, OTHER_STYLE])
    expected = np.clip(resize(resize(STYLE, (48, 64)), (50, 64)), 0, 1)
    np.testing.assert_allclose(result.image, expected, atol=1e-6)


def test_a_run_may_start_from_a_picture_of_one_s_own(network):
    own = helpers.picture(30, 30, seed=5)
    result = run(network, recipe=only_looking(ONE_SCALE), init=own)
    expected = np.clip(resize(resize(own, (48, 64)), (50, 64)), 0, 1)
    np.testing.assert_allclose(result.image, expected, atol=1e-6)


def test_noise_is_grey_with_the_recipe_s_deviation_in_the_recipe_s_space(network):
    shown = []
    run(
        network,
        recipe=ELSEWHERE,
        content=helpers.picture(48, 64),
        callback=lambda progress: shown.append(progress.image()),
    )
    start = helpers.encode(shown[0], ELSEWHERE.space)
    grey = helpers.encode(np.full((1, 1, 3), 0.5), ELSEWHERE.space)[0, 0]
    # 3072 independent values in each channel.
    np.testing.assert_allclose(start.mean((0, 1)), grey, atol=4 * 10 / np.sqrt(3072))
    np.testing.assert_allclose(start.std((0, 1)), 10, rtol=0.1)


def test_uniform_noise_has_its_centre_and_its_width(network):
    noise = Noise(distribution="uniform", centre=-5.0, spread=20.0)
    start = noisy_start(network, dataclasses.replace(ELSEWHERE, noise=noise))
    np.testing.assert_allclose(start.mean((0, 1)), -5, atol=4 * 20 / np.sqrt(3 * 3072))
    assert -25 <= start.min() < -24 and 14 < start.max() <= 15


def test_noise_leaves_its_share_to_the_content(network):
    noise = Noise(distribution="uniform", centre=0.0, spread=20.0, share=0.6)
    content = helpers.picture(48, 64)
    start = noisy_start(network, dataclasses.replace(ELSEWHERE, noise=noise))
    rest = start - 0.4 * helpers.encode(content, ELSEWHERE.space)
    assert np.abs(rest).max() <= 12 + 1e-3 and np.abs(rest).max() > 11.9


def noisy_start(network, recipe):
    """What a run starts from, in its space."""
    made = running.Run(helpers.picture(48, 64), [STYLE], network, recipe)
    return helpers.encode(made.start_image(), recipe.space)


# Rounds, and when the callback is called.

ROUNDS = dataclasses.replace(
    ONE_SCALE,
    scales=Scales(least=64, evaluations=(12,)),
    solver=Solver(round=5, precondition=0.0),
    bounds=(0.2, 0.7),
)


def test_rounds_begin_anew_where_the_last_ended_clipped(network):
    """The same as runs of one round each, every one from the clipped result of the last."""
    whole = run(network, recipe=ROUNDS)
    assert whole.evaluations == 12 and len(whole.losses["total"]) == 12
    once = dataclasses.replace(ROUNDS, bounds=None, solver=Solver(precondition=0.0))
    image, losses = resize(CONTENT, (48, 64)), []
    for count in (5, 5, 2):
        recipe = dataclasses.replace(
            once, scales=dataclasses.replace(once.scales, evaluations=(count,))
        )
        result = run(network, recipe=recipe, init=image)
        losses += [*result.losses["total"]]
        image = np.clip(raw_image(network, recipe, image), 0.2, 0.7)
    np.testing.assert_allclose(whole.losses["total"], losses, rtol=1e-4)


def raw_image(network, recipe, image):
    """What a run ends with at its inner size, not brought into [0, 1]."""
    made = running.Run(CONTENT, [STYLE], network, recipe, init=image)
    shown = []
    made.finish = lambda picture: shown.append(picture) or picture
    runner.optimize(made)
    return shown[-1]


def test_a_round_s_bounds_hold_at_the_end_only_if_it_is_whole(network):
    scales = dataclasses.replace(ROUNDS.scales, evaluations=(10,))
    ended = run(
        network, content=helpers.picture(48, 64), recipe=dataclasses.replace(ROUNDS, scales=scales)
    )
    assert ended.image.min() >= 0.2 - 1e-6 and ended.image.max() <= 0.7 + 1e-6


def test_what_is_shown_after_a_round_is_clipped_as_the_next_one_finds_it(network):
    seen = {}
    run(
        network,
        content=helpers.picture(48, 64),
        recipe=ROUNDS,
        callback=lambda p: seen.setdefault((p.phase, p.evaluations), p.image()),
    )
    for count in (5, 10):
        shown = seen["optimize", count]
        assert shown.min() >= 0.2 - 1e-6 and shown.max() <= 0.7 + 1e-6


@pytest.mark.parametrize("seconds", [0.0, 1e9])
def test_the_callback_is_called_after_every_round_and_whenever_asked(network, monkeypatch, seconds):
    monkeypatch.setattr(runner, "CHUNK_SECONDS", seconds)
    seen = []
    run(network, recipe=ROUNDS, callback=seen.append)
    counts = [p.evaluations for p in seen if p.phase == "optimize"]
    assert {5, 10, 12} <= set(counts)
    seen.clear()
    run(network, recipe=TWO_SCALES, callback=seen.append, every=2)
    counts = [p.total_done for p in seen if p.phase == "optimize"]
    assert {2, 4, 6, 8} <= set(counts)
    with pytest.raises(ValueError, match="every is 0"):
        run(network, every=0)


# Networks that are rescaled.


def test_a_stand_in_s_layers_are_replaced_and_its_terms_weighted():
    lite = helpers.tiny_network(PREPROCESSING["imagenet"], name="vgg16-lite")
    recipe = dataclasses.replace(
        only_looking(ONE_SCALE),
        network="vgg19",
        init="style",
        content=Content(layers=(("relu5_2", 1.0),), normalization="sum"),
        style=Style(layers=(("relu1_1", 1.0),), statistic="gram", distance="gatys"),
        tv=TotalVariation(weight=1.0),
        approximation=Approximation(layers=(("relu5_2", "relu3_1"),), content=0.5, style=3.0),
    )
    found = run(lite, recipe=recipe)
    plain = dataclasses.replace(
        recipe,
        network="vgg16-lite",
        approximation=None,
        content=Content(layers=(("relu3_1", 1.0),), normalization="sum"),
    )
    usual = run(lite, recipe=plain)
    for term, factor in (("content", 0.5), ("style", 3.0), ("tv", 1.0)):
        ratio = found.losses[term][0] / usual.losses[term][0] if usual.losses[term][0] else factor
        np.testing.assert_allclose(ratio, factor, rtol=1e-4)


def test_filters_are_rescaled_to_unit_means_unless_they_have_been(network):
    recipe = dataclasses.replace(
        only_looking(ONE_SCALE),
        init="style",
        unit_means=True,
        content=Content(layers=(("relu3_1", 1.0),), normalization="sum"),
    )
    rescaled = run(network, recipe=recipe).losses["content"][0]
    plain = run(network, recipe=dataclasses.replace(recipe, unit_means=False)).losses["content"][0]
    before = dataclasses.replace(network, unit_means=True)
    assert run(before, recipe=recipe).losses["content"][0] == plain
    assert rescaled == run(network, recipe=recipe).losses["content"][0]
    assert abs(rescaled / plain - 1) > 0.01


def test_the_same_seed_gives_the_same_bytes_and_another_one_other_noise(network):
    recipe = with_init(TWO_SCALES, "noise")
    one, same, other = (run(network, recipe=recipe, seed=s).image for s in (0, 0, 1))
    assert one.tobytes() == same.tobytes()
    assert np.abs(one - other).max() > 0.01


def test_where_chunks_end_does_not_reach_the_picture(network, monkeypatch):
    usual = run(network)
    for seconds in (0.0, 1e9):
        monkeypatch.setattr(runner, "CHUNK_SECONDS", seconds)
        changed = run(network)
        assert changed.image.tobytes() == usual.image.tobytes()
        for name in TERMS:
            np.testing.assert_array_equal(changed.losses[name], usual.losses[name])


# Styles.


def test_one_style_may_be_given_in_three_ways(network):
    ways = [STYLE, [STYLE], STYLE[None]]
    images = [run(network, styles=styles).image.tobytes() for styles in ways]
    assert len(set(images)) == 1


def test_several_styles_count_equally_in_any_order(network):
    both = run(network, styles=[STYLE, OTHER_STYLE], recipe=ONE_SCALE)
    turned = run(network, styles=(OTHER_STYLE, STYLE), recipe=ONE_SCALE)
    np.testing.assert_allclose(both.losses["total"], turned.losses["total"], rtol=1e-3)
    for alone in (STYLE, OTHER_STYLE):
        single = run(network, styles=alone, recipe=ONE_SCALE)
        assert abs(single.losses["style"][0] / both.losses["style"][0] - 1) > 0.01


def test_pictures_of_one_colour_are_valid(network):
    flat = np.full((48, 64, 3), 0.5, np.float32)
    for content, style in ((flat, STYLE), (CONTENT, flat), (flat, 0 * flat)):
        result = run(network, content=content, styles=style)
        assert np.all(np.isfinite(result.image))
        assert np.all(np.isfinite(result.losses["total"]))


# Other solvers and spaces.


def test_adam_with_bounds_and_average_in_another_space(network):
    result = run(network, recipe=ELSEWHERE, content=helpers.picture(48, 64))
    assert result.evaluations == 6 and result.losses["total"].shape == (6,)
    low, high = (np.array(ELSEWHERE.space.mean)[::-1] + b for b in (-100, 100))
    for c in range(3):
        assert result.image[..., c].min() > low[c] / 255 - 1e-5
        assert result.image[..., c].max() < high[c] / 255 + 1e-5


def test_zoom_keeps_to_its_evaluations(network):
    # A search holds several copies of the loss: a small one.
    recipe = dataclasses.replace(
        ONE_SCALE,
        solver=Solver(line_search="zoom"),
        content=Content(layers=(("relu1_1", 1.0),)),
        style=Style(layers=(("relu1_1", 1.0),)),
    )
    result = run(network, recipe=recipe)
    assert 6 <= result.evaluations <= 6 + 30
    assert 1 <= len(result.losses["total"]) <= 6
    assert result.losses["total"][-1] < result.losses["total"][0]


def rescaled(network, factor):
    """The network with all parameters multiplied."""
    flat = {f"{k}/{p}": factor * v for k, d in network.params.items() for p, v in d.items()}
    return make_network(network.name, network.module, network.preprocessing, flat)


def test_a_loss_of_exactly_zero_is_recorded_like_any_other(network):
    recipe = dataclasses.replace(TWO_SCALES, tv=TotalVariation(weight=0.0))
    result = run(rescaled(network, 0.0), recipe=recipe)
    assert result.evaluations == 9
    np.testing.assert_array_equal(result.losses["total"], np.zeros(9))


@pytest.mark.parametrize("solver", ["lbfgs", "adam"])
def test_losses_of_which_none_is_finite_are_an_error_as_soon_as_that_is_known(network, solver):
    recipe, heard = dataclasses.replace(TWO_SCALES, solver=Solver(kind=solver)), []
    words = r"no step had .+ style weight 5 .+ float32 holds .+: give smaller weights"
    with pytest.raises(ValueError, match=words):
        run(rescaled(network, 1e15), recipe=recipe, callback=heard.append)
    last = [progress.phase for progress in heard if progress.scale == 1]
    assert last == ["compile"]  # its first step decides


def test_one_finite_loss_is_enough(network):
    blank = running.Run(CONTENT, [STYLE], network, TWO_SCALES)
    blank.check_losses([np.inf, 1.0, np.inf])
    blank.check_losses([])
    with pytest.raises(ValueError, match="no step had"):
        blank.check_losses([np.inf, np.nan])


def test_less_memory_gives_the_same_picture(network):
    plain, saving = (run(network, recipe=ONE_SCALE, remat=remat) for remat in (False, True))
    np.testing.assert_allclose(saving.losses["total"], plain.losses["total"], rtol=1e-4)
    np.testing.assert_allclose(saving.image, plain.image, atol=1e-3)


# Callbacks.


def test_a_callback_hears_of_every_phase_in_order(network, monkeypatch):
    monkeypatch.setattr(runner, "CHUNK_SECONDS", 0.0)  # one step, one call
    heard = []
    run(network, callback=heard.append)
    assert all(isinstance(p, Progress) for p in heard)
    assert [(p.phase, p.scale, p.evaluations, p.total_done) for p in heard] == [
        ("compile", 0, 0, 0),
        *(("optimize", 0, i, i) for i in range(1, 6)),
        ("compile", 1, 0, 5),
        *(("optimize", 1, i, 5 + i) for i in range(1, 5)),
    ]
    assert {(p.scales, p.total) for p in heard} == {(2, 9)}
    assert [(p.size, p.scale_evaluations) for p in heard] == [((32, 32), 5)] * 6 + [
        ((48, 64), 4)
    ] * 5
    seconds = [p.seconds for p in heard]
    assert seconds == sorted(seconds) and seconds[0] >= 0


def test_a_callback_is_given_the_losses_and_the_picture_so_far(network, monkeypatch):
    monkeypatch.setattr(runner, "CHUNK_SECONDS", 0.0)
    heard = []
    result = run(network, callback=lambda p: heard.append((p, p.image())))
    for progress, image in heard:
        assert image.shape == CONTENT.shape and image.dtype == np.float32
        assert image.min() >= 0 and image.max() <= 1
        assert tuple(progress.losses) == (() if progress.phase == "compile" else TERMS)
    totals = [p.losses["total"] for p, _ in heard if p.losses]
    np.testing.assert_array_equal(np.float32(totals), result.losses["total"])
    last, shown = heard[-1]
    assert shown.tobytes() == result.image.tobytes() == last.image().tobytes()
    # A picture asked for later is still the one of its time.
    early, at_the_time = heard[2]
    assert early.image().tobytes() == at_the_time.tobytes()


class Stop(Exception):
    pass


@pytest.mark.parametrize("phase", ["compile", "optimize"])
@pytest.mark.parametrize("scale", [0, 1])
def test_a_callback_that_raises_stops_the_run(network, phase, scale):
    heard = []

    def stop(progress):
        heard.append(progress)
        if (progress.phase, progress.scale) == (phase, scale):
            raise Stop

    with pytest.raises(Stop):
        run(network, callback=stop)
    assert (heard[-1].phase, heard[-1].scale) == (phase, scale)
    assert sum((p.phase, p.scale) == (phase, scale) for p in heard) == 1


def test_stopping_does_not_wait_for_what_is_being_compiled(network, monkeypatch):
    release, ended, plain = threading.Event(), [], runner.Programs.compile_loop

    def compile_loop(self, index):
        if index:
            release.wait(60)
            ended.append(index)
        return plain(self, index)

    def stop(progress):
        if progress.phase == "optimize":
            raise Stop

    monkeypatch.setattr(runner.Programs, "compile_loop", compile_loop)
    try:
        with pytest.raises(Stop):
            run(network, callback=stop)
        assert not ended
    finally:
        release.set()


@pytest.mark.parametrize("task", ["compile_loop", "targets"])
def test_an_error_while_preparing_a_scale_reaches_the_caller(network, monkeypatch, task):
    def fail(self, index):
        raise MemoryError("no room")

    monkeypatch.setattr(runner.Programs, task, fail)
    with pytest.raises(MemoryError, match="no room"):
        run(network)


# Compilation.


def compilations():
    """A list that grows with every program that XLA compiles."""
    events = []

    def listen(event, duration, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            events.append(duration)

    jax.monitoring.register_event_duration_secs_listener(listen)
    return events


def test_a_run_compiles_a_loop_and_two_target_programs_per_scale_and_one_that_mixes(first):
    _, compiled = first
    assert tuple(compiled) == (2, 2, 2, 1)


def test_a_second_run_compiles_nothing(network, first):
    """Whatever its numbers, its pictures and the network's parameters."""
    before = programs()
    events = compilations()
    jax.jit(lambda x: x + 1)(jnp.zeros(1))
    assert events, "the listener was not told of a compilation"
    events.clear()
    recipe = dataclasses.replace(
        TWO_SCALES,
        style=dataclasses.replace(TWO_SCALES.style, weight=2.0),
        content=dataclasses.replace(TWO_SCALES.content, weight=0.5),
        solver=Solver(learning_rate=0.7),
        scales=Scales(least=32, evaluations=(2, 7)),
    )
    retrained = helpers.tiny_network(network.preprocessing, seed=7, name=network.name)
    run(retrained, recipe=recipe, content=CONTENT[::-1], seed=3)
    assert not np.any(programs() - before)
    assert not events


@pytest.mark.parametrize("kind", ["lbfgs", "adam", "side by side"])
def test_what_is_compiled_from_shapes_is_what_runs(network, monkeypatch, kind):
    """Neither steps nor showing an image compiles anything."""
    events, new = compilations(), {}

    def count(name):
        plain = getattr(runner.Programs, name)

        def call(self, *arguments):
            before = len(events)
            result = plain(self, *arguments)
            new.setdefault(name, []).append(len(events) - before)
            return result

        monkeypatch.setattr(runner.Programs, name, call)

    for name in ("advance", "images"):
        count(name)
    solver = Solver(kind="adam" if kind == "adam" else "lbfgs", memory=2)
    recipe = dataclasses.replace(ONE_SCALE, solver=solver)
    if kind == "side by side":
        stylize_batch([CONTENT] * 2, [STYLE] * 2, network=network, recipe=recipe)
    else:
        run(network, recipe=recipe)
    assert events and {*new} == {"advance", "images"} and not any(map(sum, new.values()))


# Doors.

GOOD = np.full((32, 32, 3), 0.5, np.float32)

BAD_PICTURES = [
    (
        np.zeros((32, 32)),
        ValueError,
        r"image has shape \(32, 32\), expected .*: repeat gray values",
    ),
    (np.zeros((32, 32, 5)), ValueError, r"image has shape \(32, 32, 5\)"),
    (np.zeros((32, 32, 3), np.int32), TypeError, "image has dtype int32, expected floating"),
    (np.zeros((15, 32, 3)), ValueError, "image is 32x15, expected at least 16 pixels"),
    (np.zeros((0, 32, 3)), ValueError, "image is 32x0, expected at least 16 pixels"),
    (2 * GOOD + 1, ValueError, r"image has values outside \[0, 1\], from 2 to 2: divide"),
    (GOOD + 0.6, ValueError, r"image has values outside \[0, 1\], from 1.1 to 1.1: clip"),
    (2 * GOOD - 1.1, ValueError, r"image has values outside .*, from -0.1 to -0.1: clip"),
    (-2 * GOOD, ValueError, r"image has values outside .*, from -1 to -1: undo the nor"),
    (-GOOD, ValueError, r"image has values outside \[0, 1\]"),
    (np.nan * GOOD, ValueError, "image has values that are not finite"),
]


@pytest.mark.parametrize(("picture", "kind", "message"), BAD_PICTURES, ids=lambda v: str(v)[-30:])
def test_a_bad_picture_is_refused_by_name_before_any_work(network, picture, kind, message):
    called = []
    for name, arguments in (
        ("content", {"content": picture}),
        ("style", {"styles": picture}),
        ("style 2", {"styles": [GOOD, picture]}),
        ("init", {"init": picture}),
    ):
        if name == "style" and picture.ndim == 2:
            continue  # an array of two axes is a sequence of rows
        with pytest.raises(kind, match=f"^{name} {message}") as raised:
            run(network, **{"content": GOOD, "styles": GOOD, **arguments}, callback=called.append)
        assert "\n" not in str(raised.value)
    assert not called


def test_no_style_at_all_is_refused(network):
    for styles in ([], np.zeros((0, 32, 32, 3))):
        with pytest.raises(ValueError, match="styles is empty"):
            run(network, styles=styles)


@pytest.mark.parametrize(
    ("more", "kind", "message"),
    [
        ({"size": 0}, ValueError, "size is 0"),
        ({"size": -5}, ValueError, "size is -5"),
        ({"style_size": 3}, ValueError, "style size is 3"),
        ({"recipe": "defualt"}, KeyError, "unknown recipe 'defualt': did you mean 'default'"),
        ({"recipe": with_init(TWO_SCALES, "nosie")}, ValueError, "init is 'nosie', expected"),
        (
            {"recipe": helpers.tiny_recipe(content=Content(layers=(("relu3_9", 1.0),)))},
            KeyError,
            "unknown layer 'relu3_9'",
        ),
        (
            {"recipe": helpers.tiny_recipe(style=Style(layers=(("relu2_1", 1.0),), statistic="x"))},
            ValueError,
            "unknown style statistic 'x'",
        ),
        (
            {"recipe": helpers.tiny_recipe(solver=Solver(kind="sgd"))},
            ValueError,
            "unknown optimizer 'sgd'",
        ),
        (
            {"recipe": dataclasses.replace(TWO_SCALES, scales=Scales(least=32, steps=1))},
            ValueError,
            "steps is 1, expected at least 2",
        ),
        ({"network": "vgg99"}, KeyError, "unknown network 'vgg99': did you mean 'vgg"),
        ({"network": "vgg19"}, ValueError, "vgg19 is not bundled"),
    ],
    ids=lambda v: str(v)[:40],
)
def test_what_does_not_exist_is_refused_before_any_work(network, more, kind, message):
    called = []
    given = {"network": network, "recipe": TWO_SCALES, **more, "callback": called.append}
    with pytest.raises(kind) as raised:
        stylize(CONTENT, STYLE, **given)
    assert message in raised.value.args[0] and "\n" not in raised.value.args[0]
    assert not called


def test_jax_arrays_lists_of_floats_and_float64_are_pictures_too(network):
    recipe = only_looking(ONE_SCALE)
    usual = run(network, recipe=recipe).image
    for content in (jnp.asarray(CONTENT), CONTENT.astype(np.float64), CONTENT.tolist()):
        np.testing.assert_array_equal(run(network, recipe=recipe, content=content).image, usual)


def test_files_pillow_images_and_uint8_are_pictures_too(network, tmp_path):
    recipe, path = only_looking(ONE_SCALE), tmp_path / "content.png"
    levels = np.rint(255 * CONTENT).astype(np.uint8)
    usual = run(network, recipe=recipe, content=levels / np.float32(255), styles=[STYLE])
    usual.save(tmp_path / "result.png")
    save_image(path, levels / np.float32(255))
    for content in (levels, path, str(path), PIL.Image.fromarray(levels)):
        found = run(network, recipe=recipe, content=content, init="content").image
        np.testing.assert_array_equal(found, usual.image)
    saved = np.asarray(PIL.Image.open(tmp_path / "result.png"))
    np.testing.assert_array_equal(saved, np.rint(255 * usual.image))
    shown = np.asarray(PIL.Image.open(io.BytesIO(usual._repr_png_())))
    np.testing.assert_array_equal(shown, saved)
    assert re.fullmatch(
        r"StylizeResult\(64x50, loss [\d.e+-]+, 1 evaluation, [\d.]+ s\)", repr(usual)
    )


def test_keywords_override_the_recipe(network):
    bolder = dataclasses.replace(
        only_looking(ONE_SCALE),
        style=dataclasses.replace(ONE_SCALE.style, weight=15.0),
        init="noise",
    )
    expected = run(network, recipe=bolder)
    given = {"style_weight": 15.0, "init": "noise"}
    found = run(network, recipe=only_looking(ONE_SCALE), **given)
    np.testing.assert_array_equal(found.image, expected.image)
    with pytest.raises(TypeError, match="unknown option 'style_wieght': did you mean 'style_we"):
        run(network, style_wieght=15.0)


def test_the_caller_s_arrays_are_left_alone(network):
    content, style = CONTENT.copy(), STYLE.copy()
    run(network, content=content, styles=style)
    np.testing.assert_array_equal(content, CONTENT)
    np.testing.assert_array_equal(style, STYLE)


# The types are not checked here by the tests' hook, as for users.
MISTAKES = {
    "jaxnst.stylize(a, a, size='64')": "ValueError: size is '64', expected a whole number of",
    "jaxnst.stylize(a, a, size=64.0)": "ValueError: size is 64.0, expected a whole number of",
    "jaxnst.stylize(a, a, recipe={})": "TypeError: recipe is a dict, expected a name or a jaxnst.R",
    "jaxnst.stylize(a, [a, a], style_mix=0.5)": "ValueError: style mix is 0.5, expected 2 weights",
    "jaxnst.stylize(['a.png'], a)": "TypeError: content image is a list, expected a path, a",
    "jaxnst.stylize(io.BytesIO(b'x'), a)": "TypeError: content image is a BytesIO, expected a path",
    "jaxnst.stylize(None, a)": "TypeError: content image is a NoneType, expected a path",
    "jaxnst.stylize(a, a, masks=[['a.png']])": "TypeError: mask 1 has dtype <U5, expected floating",
    "n.features(n.params, a, 'relu1_1')": "TypeError: layers is 'relu1_1', expected several names:",
    "jaxnst.stylise": "AttributeError: module 'jaxnst' has no attribute 'stylise'",
}


def test_usual_mistakes_are_errors_that_name_the_argument():
    program = f"""
import io
import traceback
import numpy as np
import jaxnst
a, n = np.full((32, 32, 3), 0.5), jaxnst.load_network("vgg16-lite")
for call in {list(MISTAKES)!r}:
    try:
        print(eval(call))
    except Exception as error:
        print("".join(traceback.format_exception_only(error)).strip())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert len(lines) == len(MISTAKES), done.stderr
    for line, words in zip(lines, MISTAKES.values(), strict=True):
        assert line.startswith(words)
    with pytest.raises(AttributeError) as raised:
        jaxnst.stylise  # noqa: B018
    assert (raised.value.name, raised.value.obj) == (
        "stylise",
        jaxnst,
    )  # Python suggests a near one
