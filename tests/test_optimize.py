"""The compiled loop: chunks, counts, Adam against NumPy, many runs at once."""

import dataclasses

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxnst.losses.objective import (
    Targets,
    content_targets,
    make_loss_weights,
    make_objective,
    style_summaries,
    style_targets,
)
from jaxnst.networks import PREPROCESSING
from jaxnst.optim import lbfgs
from jaxnst.optim.preconditioner import amplify_coarse
from jaxnst.optim.solvers import (
    CHUNK,
    SOLVERS,
    advance,
    advance_over,
    lower_over,
    make_solver,
    picture,
    start,
    start_after,
    state_shapes,
)
from jaxnst.recipes.schema import Content, Recipe, Solver, Style, TotalVariation

SHAPE = (4, 5, 3)
PLAIN = Solver(precondition=0.0)
ADAM = Solver(kind="adam", learning_rate=0.1, carry=True)
METHODS = {
    "lbfgs": Recipe(solver=PLAIN),
    "preconditioned": Recipe(solver=dataclasses.replace(PLAIN, precondition=0.5)),
    "zoom": Recipe(solver=dataclasses.replace(PLAIN, line_search="zoom")),
    "adam": Recipe(solver=ADAM),
    "bounded average": Recipe(solver=dataclasses.replace(ADAM, average=0.9), bounds=(-0.5, 0.5)),
}


def bowl(x, scales, lowest):
    """A quadratic whose numbers are arguments, with two terms."""
    return jnp.stack([jnp.sum(scales * (x - lowest) ** 2), jnp.sum(0.1 * (x - lowest) ** 2)])


def wall(x, scales, lowest):
    """A slope towards 3; beyond 1 there is no loss."""
    value = jnp.where(jnp.max(x) > 1, jnp.nan, jnp.sum((x - 3) ** 2))
    return jnp.stack([value, 0 * value])


def nothing(x, scales, lowest):
    """No loss anywhere."""
    return jnp.full(2, jnp.nan) * jnp.sum(x)


def quartic(x, scales, lowest):
    """Of the size of raw sums, and steep far out."""
    value = 1e12 * jnp.sum((x**2 - 1) ** 2)
    return jnp.stack([value, 0 * value])


LOSSES = [bowl, wall, nothing, quartic]


def problem(x, which, scales, lowest):
    """One of the losses: one program for all, since compiling is what takes time here."""
    terms = lax.switch(which, LOSSES, x, scales, lowest)
    total = terms.sum()
    return total, jnp.concatenate([total[None], terms])


@pytest.fixture
def args(rng):
    scales, lowest = rng.uniform(0.5, 5, SHAPE), rng.normal(size=SHAPE)
    return jnp.asarray(scales, jnp.float32), jnp.asarray(lowest, jnp.float32)


@pytest.fixture
def image(rng):
    return jnp.asarray(rng.normal(size=SHAPE), jnp.float32)


def follow(loss, recipe, args, image, chunks, *, budget=10**6):
    """Run in chunks; the last state and the rows of all records."""
    if loss in LOSSES:
        loss, args = problem, (jnp.asarray(LOSSES.index(loss)), *args)
    method, rates = make_solver(recipe)
    _, terms = jax.eval_shape(loss, image, *args)
    state, rows = start(method, image, terms.size), []
    for steps in chunks:
        counts = (jnp.asarray(steps), jnp.asarray(budget))
        state, record = advance(loss, method, args, rates, state, *counts)
        assert record.shape == (CHUNK, terms.size)
        rows.append(np.asarray(record))
    rows = np.concatenate(rows)
    return state, rows[~np.isnan(rows).all(axis=1)]


def assert_identical(one, other):
    """Bit for bit, every leaf of a state."""
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


# Chunks.


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("chunks", [[3, 4], [1] * 7, [2, 0, 5]])
def test_where_chunks_end_changes_nothing(name, args, image, chunks):
    whole, record = follow(bowl, METHODS[name], args, image, [7])
    parts, records = follow(bowl, METHODS[name], args, image, chunks)
    assert_identical(whole, parts)
    np.testing.assert_array_equal(record, records)


def test_where_chunks_end_changes_nothing_across_a_step_taken_back(args, image):
    for name in ("lbfgs", "adam"):
        whole, _ = follow(wall, METHODS[name], args, 0 * image, [60])
        parts, _ = follow(wall, METHODS[name], args, 0 * image, [1] * 60)
        assert whole.restarts > 0
        assert_identical(whole, parts)


@pytest.mark.parametrize("name", METHODS)
def test_no_steps_leave_everything_as_it_was(name, args, image):
    method, _ = make_solver(METHODS[name])
    before = start(method, image, 3)
    for chunks in ([0], [0, 0]):
        assert_identical(follow(bowl, METHODS[name], args, image, chunks)[0], before)
    assert np.all(np.isinf(before.terms)) and before.evaluations == before.restarts == 0
    np.testing.assert_array_equal(picture(method, before), image)


@pytest.mark.parametrize("name", ["preconditioned", "bounded average"])
def test_going_on_in_place_changes_nothing_and_leaves_the_old_picture(name, args, image):
    method, rates = make_solver(METHODS[name])
    given = (problem, method, (jnp.asarray(LOSSES.index(bowl)), *args), rates)
    counts = (jnp.asarray(3), jnp.asarray(10**6))
    state, _ = advance(*given, start(method, image, 3), *counts)
    shown = np.asarray(picture(method, state))
    expected, found = advance(*given, state, *counts), advance_over(*given, state, *counts)
    assert_identical(found, expected)
    assert np.asarray(picture(method, state)).tobytes() == shown.tobytes()
    if method.kind == "lbfgs":
        assert state.solver.steps.is_deleted()


def test_one_program_serves_any_number_of_steps_and_any_numbers(args, image):
    recipe, programs = Recipe(solver=dataclasses.replace(PLAIN, memory=2)), advance._cache_size()
    follow(bowl, recipe, args, image, [1, 5, 64, 0])
    slower = Recipe(solver=dataclasses.replace(PLAIN, memory=2, learning_rate=0.5))
    follow(bowl, slower, tuple(2 * a for a in args), image + 1, [3], budget=7)
    assert advance._cache_size() == programs + 1


def test_the_record_holds_the_accepted_terms_of_every_step(args, image):
    state, record = follow(bowl, METHODS["lbfgs"], args, image, [5, 4])
    np.testing.assert_array_equal(record[-1], state.terms)
    np.testing.assert_allclose(record[:, 1:].sum(1), record[:, 0], rtol=1e-5)
    np.testing.assert_allclose(record[0, 1:], bowl(image, *args), rtol=1e-5)
    np.testing.assert_allclose(state.terms[1:], bowl(state.point, *args), rtol=1e-3, atol=1e-6)


# Evaluations.


@pytest.mark.parametrize("name", ["lbfgs", "adam"])
def test_a_fixed_step_is_one_evaluation(name, args, image):
    calls = []

    def counted(x, *args):
        jax.debug.callback(lambda _: calls.append(1), x[0, 0, 0])
        return problem(x, 0, *args)

    state, _ = follow(counted, METHODS[name], args, image, [5, 4])
    jax.effects_barrier()
    assert state.evaluations == len(calls) == 9


def test_steps_taken_back_count_as_evaluations(args, image):
    state, _ = follow(wall, METHODS["lbfgs"], args, 0 * image, [30])
    assert state.evaluations == 30 and state.restarts > 0


def test_zoom_obeys_the_budget_wherever_chunks_end(args, image):
    recipe = METHODS["zoom"]
    for budget in (1, 4, 9):
        whole, _ = follow(bowl, recipe, args, image, [60], budget=budget)
        parts, _ = follow(bowl, recipe, args, image, [1] * 20, budget=budget)
        assert_identical(whole, parts)
        assert budget <= whole.evaluations
        # The step that crosses the budget is finished: one search at most.
        shorter, _ = follow(bowl, recipe, args, image, [60], budget=budget - 1)
        assert shorter.evaluations <= whole.evaluations <= budget + 30


def test_zoom_without_a_loss_still_uses_up_its_budget(args, image):
    state, _ = follow(nothing, METHODS["zoom"], args, image, [64], budget=20)
    assert state.evaluations >= 20
    np.testing.assert_array_equal(state.point, image)
    assert np.all(np.isinf(state.terms))


# L-BFGS through the loop.


def test_lbfgs_finds_the_exact_solution(args, image):
    state, record = follow(bowl, METHODS["lbfgs"], args, image, [13])
    assert state.restarts == 0  # nothing is guarded that needs no guard
    assert record[-1, 0] < 1e-6 * record[0, 0]
    state, record = follow(bowl, METHODS["lbfgs"], args, image, [40])
    np.testing.assert_allclose(state.point, args[1], atol=1e-5)
    assert record[-1, 0] < 1e-8 * record[0, 0]


def test_pairs_are_updated_in_place():
    """One pair more takes two more pictures: no copies of them while the loop runs."""
    size = (96, 64)

    def total(x):
        return jnp.sum(x**2), jnp.sum(x**2)[None]

    def footprint(memory):
        method, rates = make_solver(Recipe(solver=dataclasses.replace(PLAIN, memory=memory)))
        state, count = state_shapes(method, size, 1), jnp.asarray(0)
        program = lower_over(total, method, (), rates, state, count, count).compile()
        memory = program.memory_analysis()
        passed = memory.argument_size_in_bytes + memory.output_size_in_bytes
        return passed + memory.temp_size_in_bytes - memory.alias_size_in_bytes

    two_pictures = 2 * 4 * 3 * size[0] * size[1]
    assert footprint(12) - footprint(4) == pytest.approx(8 * two_pictures, rel=0.02)


def test_preconditioned_steps_are_plain_steps_in_other_coordinates(args, rng):
    image = jnp.asarray(rng.normal(size=(16, 24, 3)), jnp.float32)

    def below(x, where, lowest):
        total = jnp.sum((x - lowest) ** 2 * where)
        return total, total[None]

    def elsewhere(u, *args):
        return below(image + amplify_coarse(u, 0.5), *args)

    args = (jnp.asarray(rng.uniform(0.5, 5, image.shape)), 2 * image[::-1])
    found, record = follow(below, METHODS["preconditioned"], args, image, [12])
    expected, records = follow(elsewhere, METHODS["lbfgs"], args, 0 * image, [12])
    np.testing.assert_allclose(found.point, expected.point, atol=1e-5)
    np.testing.assert_allclose(record, records, rtol=1e-4)
    method, _ = make_solver(METHODS["preconditioned"])
    shown = image + amplify_coarse(expected.point, 0.5)
    np.testing.assert_allclose(picture(method, found), shown, atol=1e-5)


def test_adam_and_no_precondition_move_in_pixels(image):
    for solver in (PLAIN, dataclasses.replace(ADAM, precondition=0.5)):
        state = start(make_solver(Recipe(solver=solver))[0], image, 3)
        assert state.point is image and state.origin is None


def test_memory_is_part_of_the_program_and_matters(args, image):
    short = Recipe(solver=dataclasses.replace(PLAIN, memory=2))
    _, little = follow(bowl, short, args, image, [15])
    _, much = follow(bowl, METHODS["lbfgs"], args, image, [15])
    assert much[-1, 0] < little[-1, 0]


@pytest.mark.parametrize("name", ["lbfgs", "adam"])
def test_no_loss_at_the_start_leaves_the_image_as_it_was(name, args, image):
    state, record = follow(nothing, METHODS[name], args, image, [5])
    np.testing.assert_array_equal(state.point, image)
    np.testing.assert_array_equal(picture(make_solver(METHODS[name])[0], state), image)
    assert state.restarts == state.evaluations == 5
    assert np.all(np.isinf(record))


@pytest.mark.parametrize("name", ["lbfgs", "adam"])
def test_beyond_the_wall_there_is_no_way(name, args, image):
    state, record = follow(wall, METHODS[name], args, 0 * image, [60])
    assert state.restarts > 0
    assert np.all(np.isfinite(record)) and np.all(np.isfinite(state.point))
    assert record[-1, 0] < record[0, 0]
    inner = jax.tree.leaves(state.solver)
    assert all(np.all(np.isfinite(leaf)) for leaf in inner)


# Adam.


def gradient(args):
    scales, lowest = (np.asarray(a, np.float64) for a in args)
    return lambda x: 2 * (scales + 0.1) * (x - lowest)


@pytest.mark.parametrize("bounds", [None, (-0.5, 0.75)])
@pytest.mark.parametrize(("betas", "rate"), [((0.9, 0.99), 0.1), ((0.5, 0.9), 0.02)])
def test_adam_equals_float64(args, image, bounds, betas, rate):
    solver = Solver(kind="adam", learning_rate=rate, betas=betas)
    state, _ = follow(bowl, Recipe(solver=solver, bounds=bounds), args, image, [20])
    expected, _ = helpers.adam(gradient(args), image, 20, rate, *betas, bounds=bounds)
    # Where a gradient passes through zero float32 decides late which way it goes.
    np.testing.assert_allclose(state.point, expected, atol=1e-4)


@pytest.mark.parametrize("steps", [1, 2, 30])
def test_the_average_is_debiased(args, image, steps):
    recipe = Recipe(solver=dataclasses.replace(ADAM, average=0.9))
    method, _ = make_solver(recipe)
    state, _ = follow(bowl, recipe, args, image, [steps])
    last, mean = helpers.adam(gradient(args), image, steps, 0.1, 0.9, 0.99, average=0.9)
    np.testing.assert_allclose(state.point, last, atol=1e-4)
    np.testing.assert_allclose(picture(method, state), mean, atol=1e-4)


def test_bounds_hold_at_every_step(args, image):
    recipe = METHODS["bounded average"]
    method, _ = make_solver(recipe)
    for steps in (1, 10):
        state, _ = follow(bowl, recipe, args, 10 * image, [steps])
        for shown in (state.point, picture(method, state)):
            assert np.min(shown) >= -0.5 - 1e-6 and np.max(shown) <= 0.5 + 1e-6


def test_adam_s_terms_are_those_of_the_point_it_came_from(args, image):
    _, record = follow(bowl, METHODS["adam"], args, image, [2])
    np.testing.assert_allclose(record[0, 1:], bowl(image, *args), rtol=1e-5)
    once, _ = follow(bowl, METHODS["adam"], args, image, [1])
    np.testing.assert_allclose(record[1, 1:], bowl(once.point, *args), rtol=1e-5)


def test_default_learning_rates():
    for kind, rate in (("lbfgs", 1.0), ("adam", 0.02)):
        _, rates = make_solver(Recipe(solver=Solver(kind=kind)))
        assert float(rates.learning_rate) == pytest.approx(rate)


# Doors.


def test_an_unknown_solver_is_refused_with_what_there_is():
    assert set(SOLVERS) == {"lbfgs", "adam"}
    with pytest.raises(ValueError, match="unknown optimizer 'sgd': expected one of lbfgs, adam"):
        make_solver(Recipe(solver=Solver(kind="sgd")))


def test_zoom_without_jaxopt_is_refused_at_the_door(monkeypatch):
    monkeypatch.setattr(lbfgs, "jaxopt", lambda: None)
    with pytest.raises(ValueError, match="'zoom' needs jaxopt"):
        make_solver(METHODS["zoom"])
    make_solver(METHODS["lbfgs"])


# Many runs at once.


def ridge(x, weights, target):
    """A loss of the kind that is reported to be miscompiled: products, then sums, of a vector."""
    flat = x.reshape(-1)
    total = jnp.sum(weights * (flat - target) ** 2) + 1e-4 * (flat @ jnp.roll(flat, 1) - 1) ** 2
    return total, total[None]


def ridge_reference(weights, target):
    def value_and_grad(x):
        flat = x.reshape(-1)
        product = flat @ np.roll(flat, 1) - 1
        value = np.sum(weights * (flat - target) ** 2) + 1e-4 * product**2
        around = np.roll(flat, 1) + np.roll(flat, -1)
        grad = 2 * weights * (flat - target) + 2e-4 * product * around
        return value, grad.reshape(x.shape)

    return value_and_grad


def test_many_runs_at_once_equal_single_runs_and_float64(rng):
    """JAX issue 39103: above 32768 elements such work is reported to be miscompiled on CPUs."""
    shape, runs, steps = (112, 112, 3), 3, 12
    size = int(np.prod(shape))
    assert size > 32768
    weights = rng.uniform(0.5, 3, (runs, size))
    targets = rng.normal(size=(runs, size)) * 0.05
    images = np.float32(rng.normal(size=(runs, *shape)) * 0.05)
    method, rates = make_solver(METHODS["lbfgs"])
    counts = (jnp.asarray(steps), jnp.asarray(10**6))

    def one(image, *args):
        return advance(ridge, method, args, rates, start(method, image, 1), *counts)

    together = [jnp.asarray(a, jnp.float32) for a in (images, weights, targets)]
    states, records = jax.jit(jax.vmap(one))(*together)
    assert np.all(np.asarray(states.evaluations) == steps) and not np.any(states.restarts)
    for i in range(runs):
        alone, record = one(*(a[i] for a in together))
        points, values = helpers.lbfgs(
            ridge_reference(weights[i], targets[i]), images[i], steps - 1, 10
        )
        assert values[-1] < 0.2 * values[0]
        for found, rows in ((states.point[i], records[i]), (alone.point, record)):
            np.testing.assert_allclose(found, points[-1], atol=1e-4)
            np.testing.assert_allclose(rows[:steps, 0], values, rtol=1e-3)
        np.testing.assert_allclose(states.point[i], alone.point, atol=1e-5)


# A recipe with raw sums, from white noise.


def raw_sums():
    """The literature's scale: features of hundreds, losses of 1e10 and more."""
    return helpers.tiny_recipe(
        init="noise",
        content=Content(weight=1.0, layers=(("relu2_1", 1.0),), normalization="sum"),
        style=Style(
            weight=1e9,
            layers=(("relu1_1", 0.5), ("relu2_1", 0.5)),
            statistic="gram",
            distance="gatys",
        ),
        tv=TotalVariation(weight=1.0, kind="power"),
        space=PREPROCESSING["caffe"],
        pooling="avg",
    )


@pytest.mark.parametrize("solver", [Solver(), Solver(kind="adam", learning_rate=2.0)])
def test_raw_sums_from_white_noise_do_not_blow_up(rng, solver):
    recipe = dataclasses.replace(raw_sums(), solver=solver)
    network = helpers.tiny_network(PREPROCESSING["caffe"])
    objective = make_objective(recipe, network)
    content, style = (jnp.asarray(helpers.picture(32, 32, seed)) for seed in (0, 1))
    targets = Targets(
        content_targets(objective, network.params, content),
        style_targets(objective, [style_summaries(objective, network.params, style)]),
    )
    args = (network.params, targets, make_loss_weights(recipe))
    noise = jnp.asarray(rng.normal(0, 60, (32, 32, 3)), jnp.float32)
    state, record = follow(objective, recipe, args, noise, [60, 60])
    assert np.all(np.isfinite(record)) and np.all(np.isfinite(state.point))
    total = record[:, 0]
    assert total[0] > 1e9  # the scale this is about
    assert total[-1] < 0.1 * total[0]
    # No step is accepted that raises the loss far.
    assert np.all(total[1:] <= (1 + lbfgs.RISE) * total[:-1] * (1 + 1e-6)) or solver.kind == "adam"


def test_a_quartic_of_raw_size_is_minimised(args, image):
    state, record = follow(quartic, METHODS["lbfgs"], args, 3 * image, [60])
    assert np.all(np.isfinite(record)) and record[-1, 0] < 1e-3 * record[0, 0]
    assert float(state.terms[0]) == record[-1, 0]


# From scale to scale.

LARGER = (8, 10, 3)


def after_steps(name, args, image, count=6):
    method, _ = make_solver(METHODS[name])
    return method, follow(bowl, METHODS[name], args, image, [count])[0]


@pytest.mark.parametrize("name", ["adam", "bounded average"])
def test_adam_s_moments_go_on_enlarged_and_all_else_anew(name, args, image, rng):
    method, before = after_steps(name, args, image)
    new = jnp.asarray(rng.normal(size=LARGER), jnp.float32)
    state, fresh = start_after(method, new, before), start(method, new, before.terms.size)
    found, old = state.solver.moments, before.solver.moments
    assert_identical(state._replace(solver=None), fresh._replace(solver=None))
    assert_identical(state.solver._replace(moments=None), fresh.solver._replace(moments=None))
    np.testing.assert_array_equal(picture(method, state), new)
    assert int(found.count) == 6
    assert found.mu.shape == found.nu.shape == LARGER and np.all(np.asarray(found.nu) >= 0)
    for large, small in ((found.mu, old.mu), (found.nu, old.nu)):
        # Where the border is far: a point of the fine grid is a quarter off one of the coarse.
        expected = helpers.enlarged(small)[2:-2, 2:-2]
        tolerance = 0.2 * np.abs(small).max()  # cubic is not quite linear
        np.testing.assert_allclose(large[2:-2, 2:-2], expected, atol=tolerance)
    flat = before._replace(
        solver=before.solver._replace(
            moments=old._replace(mu=jnp.full(SHAPE, -0.3), nu=jnp.full(SHAPE, 0.2))
        )
    )
    found = start_after(method, new, flat).solver.moments
    np.testing.assert_allclose(found.mu, -0.3, rtol=1e-5)
    np.testing.assert_allclose(found.nu, 0.2, rtol=1e-5)


def test_lanes_are_carried_as_they_are_alone(args, image, rng):
    method, before = after_steps("bounded average", args, image)
    images = jnp.asarray(rng.normal(size=(2, *LARGER)), jnp.float32)
    both = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), before)
    found = jax.vmap(lambda x, s: start_after(method, x, s))(images, both)
    for i in range(2):
        alone = start_after(method, images[i], jax.tree.map(lambda leaf, i=i: leaf[i], both))
        for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(one[i], other, atol=1e-6)


def test_only_adam_carries_and_only_if_told_to():
    carried = {name: make_solver(recipe)[0].carry for name, recipe in METHODS.items()}
    assert [name for name, carries in carried.items() if carries] == ["adam", "bounded average"]
    assert not make_solver(Recipe(solver=dataclasses.replace(ADAM, carry=False)))[0].carry
