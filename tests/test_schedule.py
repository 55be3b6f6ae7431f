"""Sizes and shares of evaluations."""

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxnst.recipes import get_recipe
from jaxnst.recipes.schema import Scales
from jaxnst.transfer.pyramid import make_schedule

DEFAULT = Scales(least=128, factor=2.0, evaluations=(100, 80, 60))


def layout(schedule):
    return [scale.inner for scale in schedule.scales]


def counts(schedule):
    return [scale.evaluations for scale in schedule.scales]


# Known layouts.


def test_the_default_at_512_pixels():
    schedule = make_schedule((600, 800), [(1000, 700)], DEFAULT, size=512)
    assert schedule.size == (384, 512)
    assert layout(schedule) == [(96, 128), (192, 256), (384, 512)]
    assert counts(schedule) == [100, 80, 60]
    assert [scale.styles for scale in schedule.scales] == [
        ((128, 88),),
        ((256, 176),),
        ((512, 352),),
    ]


@pytest.mark.parametrize(
    ("size", "sides"),
    [(64, [64]), (255, [255]), (256, [128, 256]), (512, [128, 256, 512]), (1000, [250, 500, 1000])],
)
def test_scales_shrink_by_the_factor_down_to_the_least(size, sides):
    schedule = make_schedule((size, size), [(64, 64)], DEFAULT, size=size)
    assert [max(inner) for inner in layout(schedule)] == [round(s / 16) * 16 for s in sides]


def test_coarser_scales_are_longer_by_the_extra():
    scales = replace(DEFAULT, extra=16)
    small, large = (make_schedule((600, 800), [], scales, size=size) for size in (512, 1024))
    assert layout(small) == [(112, 144), (208, 272), (384, 512)]
    assert layout(large) == [(112, 144), (208, 272), (400, 528), (768, 1024)]


def test_coarser_scales_are_not_longer_than_the_result():
    scales = replace(DEFAULT, least=480, factor=1.05, extra=64)
    assert [max(inner) for inner in layout(make_schedule((512, 512), [], scales))] == [512, 512]


def test_a_last_pass_has_the_size_of_the_last_scale():
    for scales in (replace(DEFAULT, last_pass=7), Scales(sides=(128, 256), last_pass=7)):
        schedule = make_schedule((192, 256), [(64, 64)], scales)
        assert layout(schedule) == [(96, 128), (192, 256), (192, 256)]
        assert [scale.again for scale in schedule.scales] == [False, False, True]
    assert counts(schedule) == [50, 40, 7]
    assert counts(make_schedule((192, 256), [], replace(scales, steps=10))) == [5, 4, 1]


def test_further_scales_repeat_the_last_count():
    assert counts(make_schedule((1024, 1024), [(64, 64)], DEFAULT)) == [100, 80, 60, 60]


def test_fewer_scales_use_the_coarsest_counts():
    assert counts(make_schedule((128, 128), [(64, 64)], DEFAULT)) == [100]


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (240, [100, 80, 60]),
        (3, [1, 1, 1]),
        (4, [2, 1, 1]),
        (24, [10, 8, 6]),
        (480, [200, 160, 120]),
    ],
)
def test_steps_are_shared_in_the_recipe_s_proportion(steps, expected):
    scales = Scales(least=128, evaluations=(100, 80, 60), steps=steps)
    found = counts(make_schedule((512, 512), [(64, 64)], scales))
    assert sum(found) == steps
    assert max(abs(a - b) for a, b in zip(found, expected, strict=True)) <= 1


@pytest.mark.parametrize("several", [True, False])
def test_scales_may_be_given_and_end_at_the_size(several):
    scales = Scales(sides=(64, 96, 512), size=300, several=several, evaluations=(9, 5))
    for size in (None, 512):
        schedule = make_schedule((600, 800), [(1000, 700)], scales, size=size)
        assert schedule.size == (384, 512)
        assert layout(schedule) == [(48, 64), (64, 96), (384, 512)]
        assert counts(schedule) == [9, 5, 5]
        assert [max(scale.styles[0]) for scale in schedule.scales] == [64, 96, 512]
    with pytest.raises(ValueError, match="size is 256, but the scales end at 512"):
        make_schedule((600, 800), [], scales, size=256)


def test_scales_left_open_are_coarse_to_fine_whatever_the_recipe_says():
    for several in (True, False):
        scales = Scales(sides=(), several=several)
        assert layout(make_schedule((256, 256), [], scales)) == [(128, 128), (256, 256)]


@pytest.mark.parametrize("sides", [(128, 128), (256, 128), (15, 32), (-64, 32)])
def test_scales_grow_from_at_least_16_pixels(sides):
    with pytest.raises(ValueError, match="increasing sides of at least 16 pixels"):
        Scales(sides=sides)


def test_the_size_is_the_content_s_own_if_none_is_given():
    assert make_schedule((100, 63), [(64, 64)], DEFAULT).size == (100, 63)


def test_a_style_is_never_enlarged():
    schedule = make_schedule((512, 512), [(100, 200), (1024, 512)], DEFAULT)
    assert [s.styles for s in schedule.scales] == [
        ((64, 128), (128, 64)),
        ((100, 200), (256, 128)),
        ((100, 200), (512, 256)),
    ]


@pytest.mark.parametrize(
    ("side", "rounded"),
    # 3 % of 1000 is 30, of 490 14.7, of 214 6.4, of 90 2.7, of 85 2.55
    [(1000, 992), (490, 480), (214, 208), (218, 224), (90, 88), (85, 85), (129, 128), (17, 17)],
)
def test_a_style_s_side_is_rounded_as_far_as_three_per_cent_allow(side, rounded):
    schedule = make_schedule((2000, 2000), [(side, side)], Scales(several=False))
    assert schedule.scales[0].styles == ((rounded, rounded),)
    exact = make_schedule((2000, 2000), [(side, side)], Scales(several=False, multiple=1))
    assert exact.scales[0].styles == ((side, side),)


def test_rounded_styles_have_fewer_shapes():
    """At 256 pixels, of paintings whose sides have any ratio between 1 and 2."""
    styles = [(1000, 500 + i) for i in range(500)]
    rounded, exact = (
        {make_schedule((256, 256), [s], Scales(multiple=m)).scales[-1].styles for s in styles}
        for m in (16, 1)
    )
    assert len(rounded) < len(exact) / 6


def test_style_size_scales_the_styles_alone():
    schedule = make_schedule((512, 512), [(1024, 1024)], DEFAULT, style_size=256)
    assert layout(schedule)[-1] == (512, 512)
    assert [s.styles[0] for s in schedule.scales] == [(64, 64), (128, 128), (256, 256)]


def test_a_small_style_size_keeps_sixteen_pixels_at_coarse_scales():
    schedule = make_schedule((512, 512), [(600, 800)], DEFAULT, style_size=16)
    assert [scale.styles[0] for scale in schedule.scales] == [(16, 16)] * 3
    tiny = Scales(least=16, evaluations=(1,))
    schedule = make_schedule((512, 512), [(16, 16)], tiny, style_size=16)
    assert {scale.styles[0] for scale in schedule.scales} == {(16, 16)}


def test_a_long_thin_picture_keeps_sixteen_pixels_inside():
    schedule = make_schedule((16, 1600), [(1600, 16)], DEFAULT, size=160)
    assert schedule.size == (2, 160)
    assert layout(schedule) == [(16, 160)]
    assert schedule.scales[0].styles == ((160, 16),)


# What is refused.


@pytest.mark.parametrize("size", [0, -5, 15])
def test_a_size_under_sixteen_is_refused(size):
    with pytest.raises(ValueError, match=f"^size is {size}, expected at least 16 pixels"):
        make_schedule((64, 64), [(64, 64)], DEFAULT, size=size)
    with pytest.raises(ValueError, match=f"^style size is {size}, expected at least 16 pixels"):
        make_schedule((64, 64), [(64, 64)], DEFAULT, style_size=size)


def test_fewer_steps_than_scales_are_refused():
    scales = Scales(least=128, evaluations=(100, 80, 60), steps=2)
    with pytest.raises(ValueError, match="steps is 2, expected at least 3"):
        make_schedule((512, 512), [(64, 64)], scales)


# Whatever the numbers.

sides = st.integers(16, 3000)
sizes = st.tuples(sides, sides)


@given(
    content=sizes,
    styles=st.lists(sizes, min_size=1, max_size=3),
    size=st.none() | st.integers(16, 3000),
    style_size=st.none() | st.integers(16, 3000),
    least=st.integers(16, 400),
    factor=st.floats(1.2, 5),
    evaluations=st.lists(st.integers(1, 500), min_size=1, max_size=5),
    steps=st.none() | st.integers(1, 3000),
)
def test_any_schedule(content, styles, size, style_size, least, factor, evaluations, steps):
    scales = Scales(least=least, factor=factor, evaluations=tuple(evaluations), steps=steps)

    def make():
        return make_schedule(content, styles, scales, size=size, style_size=style_size)

    longest = max(content) if size is None else size
    number = 1
    while longest / factor**number >= least * (1 + 1e-9):
        number += 1
    if steps is not None and steps < number:
        with pytest.raises(ValueError, match=f"steps is {steps}"):
            make()
        return
    schedule = make()
    assert max(schedule.size) == longest and min(schedule.size) >= 1
    check_sizes(schedule, content, styles, longest if style_size is None else style_size)
    check_counts(schedule, evaluations, steps)


def check_sizes(schedule, content, styles, style_size):
    short = min(schedule.size) - 1, min(schedule.size) + 1
    assert short[0] <= max(schedule.size) * min(content) / max(content) <= short[1]
    longest = [max(scale.inner) for scale in schedule.scales]
    assert longest == sorted(longest)
    for scale in schedule.scales:
        assert all(side % 16 == 0 and side >= 16 for side in scale.inner)
        assert len(scale.styles) == len(styles)
        for own, size in zip(styles, scale.styles, strict=True):
            assert min(size) >= 16 and max(size) <= max(16, 1.03 * min(style_size, max(own)))
    final = schedule.scales[-1].inner
    for inner, exact in zip(final, schedule.size, strict=True):
        assert abs(inner - exact) <= 8 or (inner == 16 and exact < 8)


def check_counts(schedule, evaluations, steps):
    found = counts(schedule)
    wanted = (evaluations + [evaluations[-1]] * len(found))[: len(found)]
    if steps is None:
        assert found == wanted
        return
    assert sum(found) == steps and min(found) >= 1
    for count, share in zip(found, wanted, strict=True):
        exact = 1 + Fraction((steps - len(found)) * share, sum(wanted))
        assert abs(count - exact) < 1


# Sizes of recipes that bring their own.


def test_a_recipe_s_size_holds_where_none_is_asked_for():
    scales = Scales(size=500, several=False, multiple=1, evaluations=(7,))
    schedule = make_schedule((600, 800), [(1000, 700)], scales)
    assert schedule.size == (375, 500) and layout(schedule) == [(375, 500)]
    assert counts(schedule) == [7]
    assert make_schedule((600, 800), [], scales, size=200).size == (150, 200)


@pytest.mark.parametrize(
    ("aspect", "size", "expected"),
    [
        (500 / 350, 500, (350, 500)),
        (1.0, 244, (244, 244)),
        (800 / 600, 800, (600, 800)),
        (0.5, 100, (100, 50)),
        (500 / 350, 100, (70, 100)),
    ],
)
def test_an_aspect_stretches_the_content_which_stays_upright_or_wide(aspect, size, expected):
    scales = Scales(aspect=aspect, multiple=1, several=False)
    wide, upright = sorted(expected), sorted(expected, reverse=True)
    for content, sides in (((600, 800), wide), ((800, 600), upright), ((64, 64), expected)):
        schedule = make_schedule(content, [], scales, size=size)
        assert schedule.size == tuple(sides) and layout(schedule) == [tuple(sides)]


def test_an_aspect_without_a_size_fits_inside_the_content():
    scales = Scales(aspect=500 / 350, multiple=1, several=False)
    assert make_schedule((300, 600), [], scales).size == (300, 429)
    assert make_schedule((600, 300), [], scales).size == (429, 300)
    assert make_schedule((300, 300), [], scales).size == (210, 300)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("keras-vgg16-avgpool", (500, 350)),
        ("keras-densenet121", (244, 244)),
        ("pytorch-vgg19-adam", (800, 400)),
        ("tensorflow-vgg19-matconvnet", (800, 600)),
        ("gatys2016", (512, 256)),
    ],
)
def test_recipes_keep_a_portrait_upright(name, size):
    assert make_schedule((600, 300), [], get_recipe(name).scales).size == size


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ((600, 800), (400, 533)),
        ((800, 600), (533, 400)),
        ((200, 300), (300, 450)),  # 300 is below 400: it becomes the shorter side
        ((400, 400), (400, 400)),
    ],
)
def test_the_shortest_side_as_torchvision_scales_it(content, expected):
    scales = Scales(size=400, side="shortest", multiple=1, several=False)
    assert make_schedule(content, [], scales).size == expected
    # What a person asks for is the longest side, whatever the recipe.
    assert max(make_schedule(content, [], scales, size=256).size) == 256


def test_styles_stretched_to_the_content_are_enlarged_too():
    scales = Scales(style_like_content=True, least=64, evaluations=(2,))
    schedule = make_schedule((128, 256), [(20, 20), (999, 30)], scales)
    for scale in schedule.scales:
        assert scale.styles == (scale.inner, scale.inner)
    with pytest.raises(ValueError, match="style size is 64, but this recipe stretches styles"):
        make_schedule((128, 256), [(20, 20)], scales, style_size=64)


def test_sides_are_exact_where_the_multiple_is_one():
    scales = Scales(multiple=1, least=128, factor=2**0.5, evaluations=(10, 5))
    schedule = make_schedule((512, 512), [], scales)
    assert layout(schedule) == [(s, s) for s in (128, 181, 256, 362, 512)]
    assert counts(schedule) == [10, 5, 5, 5, 5]
