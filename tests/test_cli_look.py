"""Flags of the look and of colors: what they set, and what is refused in one line."""

import re

import pytest

from jaxnst.cli.parser import parse
from jaxnst.recipes.schema import Colors

GIVEN = ("content.png", "style.png", "-o", "out.png")


def recipe(*flags):
    return parse([*GIVEN, *flags], "jaxnst run")[1]


def test_the_look_is_what_the_flags_say():
    made = recipe(
        *("--pooling", "avg-scaled", "--padding", "edge", "--tv-kind", "diagonal"),
        *("--optimizer", "adam", "--average", "0.99", "--init", "style-colors"),
        *("--colors", "content-luminance", "--colors-when", "before"),
    )
    assert (made.pooling, made.padding, made.tv.kind) == ("avg-scaled", "edge", "diagonal")
    assert (made.solver.kind, made.solver.average) == ("adam", 0.99)
    assert made.init == "style-colors"
    assert made.colors == Colors(mode="content-luminance", when="before")


def test_flags_that_only_go_together_may_come_in_any_order():
    for flags in (
        ("--optimizer", "adam", "--average", "0.9"),
        ("--average=0.9", "--optimizer=adam"),
    ):
        assert recipe(*flags).solver.average == 0.9


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--average", "0.9"), "averaged iterates are for adam, but average is 0.9"),
        (("--optimizer", "adam", "--average", "1"), "decay rate is 1.0, expected 0 <= rate < 1"),
        (("--optimizer", "adam", "--average", "x"), "--average: 'x' is not a number"),
        (("--pooling", "mean"), "--pooling: invalid choice: 'mean'"),
        (("--padding", "wrap"), "--padding: invalid choice: 'wrap'"),
        (("--tv-kind", "l1"), "--tv-kind: invalid choice: 'l1'"),
        (("--colors", "lab"), "--colors: invalid choice: 'lab'"),
        (("--colors-when", "later"), "--colors-when: invalid choice: 'later'"),
    ],
)
def test_what_cannot_be_is_one_line(call, flags, words):
    status, out, err = call("run", *GIVEN, *flags)
    assert (status, out) == (2, "") and words in err
    assert re.fullmatch(r"jaxnst run: error: .+\n", err)


def test_the_help_lists_choices_and_defaults(call):
    _, out, _ = call("run", "--help")
    text = " ".join(out.split())
    for words in (
        "--pooling {max,avg,avg-scaled}",
        "--padding {zero,edge,reflect}",
        "--tv-kind {squared,sum,power,diagonal}",
        "--colors {style,content-luminance,linear,histogram,palette}",
        "--colors-when {before,after}",
        "--average RATE",
        "recolor the styles before the transfer, or the result after it (default: before)",
        "content, noise, style, style-colors, instant, or a picture's path (default: content)",
    ):
        assert words in text
