"""Estimates: against counting by hand, against XLA's own account, and against the clock."""

import dataclasses
import math
from functools import partial

import helpers
import jax
import pytest

from jaxnst.networks.registry import init_network
from jaxnst.optim.solvers import advance
from jaxnst.recipes import get_recipe
from jaxnst.recipes.schema import Scales, Solver, Space, Style
from jaxnst.transfer import memory as planning
from jaxnst.transfer.memory import loop_footprint
from jaxnst.transfer.pyramid import make_schedule

MIB = 2**20


@pytest.fixture(scope="module")
def tiny():
    return helpers.tiny_network(Space())


def plan(network, recipe, size, **more):
    schedule = make_schedule((300, 400), [(200, 200)], recipe.scales, size=size)
    return planning.make_plan(schedule, recipe, network, **more)


def test_arithmetic_is_that_of_counting_by_hand(tiny):
    # Blocks 4, 4 | 6 | 8, 8 at strides 1, 2, 4; inputs 3, 4, 4, 6, 8.
    convolutions = 9 * (3 * 4 + 4 * 4 + 4 * 6 / 4 + (6 * 8 + 8 * 8) / 16)
    products = 4 * 4 + 6 * 6 / 4 + 8 * 8 / 16  # of the maps at relu1_1, relu2_1, relu3_2
    cost = planning.cost_of(helpers.tiny_recipe(), tiny)
    assert cost.multiply_adds == pytest.approx(2 * (convolutions + products))


def test_layers_that_the_loss_does_not_look_at_cost_nothing(tiny):
    recipe = helpers.tiny_recipe()
    shallow = dataclasses.replace(
        recipe,
        content=dataclasses.replace(recipe.content, layers=(("relu1_1", 1.0),)),
        style=dataclasses.replace(recipe.style, layers=(("relu1_1", 1.0),)),
    )
    cost = planning.cost_of(shallow, tiny)
    assert cost.multiply_adds == pytest.approx(2 * (9 * 3 * 4 + 4 * 4))
    assert cost.fixed_bytes == 8 * 9 * 3 * 4


def test_plan_follows_the_schedule(tiny):
    recipe = helpers.tiny_recipe()
    found = plan(tiny, recipe, 128)
    assert [s.inner for s in found.schedule.scales] == [(32, 32), (48, 64), (96, 128)]
    areas = [math.prod(s.inner) for s in found.schedule.scales]
    ratios = [adds / area for adds, area in zip(found.multiply_adds, areas, strict=True)]
    assert ratios == pytest.approx([planning.cost_of(recipe, tiny).multiply_adds] * 3)


def test_memory_counts_pictures_programs_and_history(tiny):
    recipe = helpers.tiny_recipe()
    here = plan(tiny, recipe, 128).bytes
    there = plan(tiny, recipe, 128, host=False).bytes
    process = planning.PROCESS_BYTES + 3 * planning.PROGRAM_BYTES
    assert here - there == process + 2 * planning.COMPILER_BYTES
    assert plan(tiny, recipe, 128).bytes_again - there == process
    assert plan(tiny, recipe, 128, pictures=10**6).bytes - here == 10**6
    assert plan(tiny, recipe, 128, reading=here).bytes == here
    assert plan(tiny, recipe, 128, reading=10**12).bytes_again == 10**12
    assert plan(tiny, recipe, 128, host=False, reading=10**12).bytes == there
    longer = dataclasses.replace(recipe, solver=Solver(memory=20))
    history = 2 * 10 * (96 * 128 * 3 * 4)
    # The rest are the ten reciprocals of curvature that go with it.
    assert plan(tiny, longer, 128, host=False).bytes - there == pytest.approx(history, rel=1e-3)


def test_a_large_style_counts(tiny):
    recipe = helpers.tiny_recipe(scales=Scales(evaluations=(1,)))
    schedule = make_schedule((64, 64), [(4000, 4000)], recipe.scales, size=64, style_size=4000)
    cost = planning.cost_of(recipe, tiny)
    found = planning.make_plan(schedule, recipe, tiny, host=False)
    assert found.bytes == pytest.approx(4000**2 * cost.target_bytes, rel=0.01)


@pytest.mark.parametrize("limit", [15, 16, 17, 400, 1007, 1008, 5000])
def test_largest_size_is_the_largest(limit):
    found = planning.largest_size(lambda size: size**2, limit**2, 1024)
    expected = [size for size in range(16, 1024, 16) if size <= limit]
    assert found == (expected[-1] if expected else None)


@pytest.mark.parametrize(("kind", "remat"), [("lbfgs", False), ("lbfgs", True), ("adam", False)])
def test_memory_of_the_loop_is_what_xla_accounts_for(kind, remat):
    """Within 20 % of the arguments, results and buffers of the compiled program."""
    recipe = dataclasses.replace(get_recipe("default"), solver=Solver(kind=kind))
    network, size = init_network("vgg16-lite"), (128, 128)
    cost = planning.cost_of(recipe, network, remat=remat)
    found = loop_footprint(recipe, network, size, remat=remat)
    assert math.prod(size) * cost.loop_bytes + cost.fixed_bytes == pytest.approx(found, rel=0.2)


def test_maps_of_sixteen_bits_are_half_as_large_on_an_accelerator_only(tiny):
    recipe = helpers.tiny_recipe()
    half, low = (tiny.configure(precision=p) for p in ("tf32", "bfloat16"))
    for host in (True, False):
        assert plan(half, recipe, 128, host=host) == plan(tiny, recipe, 128, host=host)
    assert plan(low, recipe, 128) == plan(tiny, recipe, 128)
    values = 4 + 4 + 6 / 4 + (8 + 8) / 16  # of convolutions' outputs, per pixel
    spared = 2 * planning.MAP_COPIES * values * 96 * 128
    there = [plan(network, recipe, 128, host=False).bytes for network in (tiny, low)]
    assert there[0] - there[1] == pytest.approx(spared, abs=1)
    schedule = make_schedule((96, 128), [(96, 128)], recipe.scales, size=128)
    fitting = partial(planning.runs_that_fit, schedule, recipe, available=1024 * MIB)
    assert fitting(low, host=False) > fitting(tiny, host=False) > 1
    fitting = partial(planning.runs_that_fit, schedule, recipe, available=2048 * MIB)
    assert fitting(low, host=True) == fitting(tiny, host=True) > 1


def test_pictures_leave_memory_for_fewer_runs_side_by_side(tiny):
    recipe = helpers.tiny_recipe()
    schedule = make_schedule((96, 128), [(96, 128)], recipe.scales, size=128)
    fitting = partial(planning.runs_that_fit, schedule, recipe, tiny, 2048 * MIB)
    own = planning.make_plan(schedule, recipe, tiny, host=False).bytes
    many, process = fitting(host=True), 2048 * MIB - fitting(host=True) * own
    assert fitting(host=True, shared=own) == many - 1
    assert fitting(host=True, pictures=own) in (many // 2, many // 2 + 1) and process > 0
    assert fitting(host=True, shared=2048 * MIB) == 1
    assert fitting(host=False, pictures=own, shared=own) == fitting(host=False)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="is about CPUs")
def test_maps_of_sixteen_bits_spare_nothing_on_a_cpu():
    recipe, size = get_recipe("default"), (128, 128)
    low = init_network("vgg16-lite").configure(precision="bfloat16")
    cost = planning.cost_of(recipe, low)
    found = loop_footprint(recipe, low, size, remat=False)
    assert math.prod(size) * cost.loop_bytes + cost.fixed_bytes == pytest.approx(found, rel=0.2)


@pytest.mark.gpu
@pytest.mark.parametrize("statistic", ["covariance", "histogram"])
def test_memory_of_a_loop_of_sixteen_bits_is_what_xla_accounts_for(statistic):
    recipe, size = get_recipe("default"), (128, 128)
    recipe = dataclasses.replace(recipe, style=Style(statistic=statistic, distance="mean"))
    low = init_network("vgg16-lite").configure(precision="bfloat16")
    cost = planning.cost_of(recipe, low, value_bytes=2)
    found = loop_footprint(recipe, low, size, remat=False)
    assert math.prod(size) * cost.loop_bytes + cost.fixed_bytes == pytest.approx(found, rel=0.2)


def test_recomputed_blocks_cost_a_second_forward_pass(tiny):
    recipe = helpers.tiny_recipe()
    plain, saving = (planning.cost_of(recipe, tiny, remat=remat) for remat in (False, True))
    # All but the third block: its layers and the products of the maps at relu1_1 and relu2_1.
    twice = 9 * (3 * 4 + 4 * 4 + 4 * 6 / 4) + 4 * 4 + 6 * 6 / 4
    assert saving.multiply_adds - plain.multiply_adds == pytest.approx(twice)
    assert saving.loop_bytes < plain.loop_bytes


def test_an_answer_of_xla_takes_the_place_of_the_estimate(tiny):
    recipe = helpers.tiny_recipe()
    assert plan(tiny, recipe, 128, host=False, loop=10**9).bytes == 10**9
    here = plan(tiny, recipe, 128, loop=10**9).bytes_again
    assert here == 10**9 + planning.PROCESS_BYTES + 3 * planning.PROGRAM_BYTES


def test_pace_is_measured_and_adds_up(tiny):
    recipe = helpers.tiny_recipe()
    pace = planning.measure_pace(recipe, tiny, (300, 400), longest=32)
    assert pace.compile_seconds > 0 and pace.multiply_adds > 0
    found = plan(tiny, recipe, 128)
    seconds = planning.estimate_seconds(found, planning.Pace(1e6, 3.0))
    work = sum(
        scale.evaluations * adds
        for scale, adds in zip(found.schedule.scales, found.multiply_adds, strict=True)
    )
    assert work / 1e6 <= seconds.run <= 1.5 * work / 1e6
    assert 0 < seconds.wait_again < 3.0 <= seconds.wait <= 9.0


def test_a_missing_layer_is_named(tiny):
    with pytest.raises(KeyError, match="relu4_2"):
        planning.cost_of(get_recipe("default"), tiny)


def test_estimates_compile_nothing(tiny):
    jax.clear_caches()
    planning.cost_of.cache_clear()
    plan(tiny, helpers.tiny_recipe(), 4096)
    assert advance._cache_size() == 0
