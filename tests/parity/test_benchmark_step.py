"""The benchmark's check that PyTorch is timed on the same loss finds one that is not."""

import jax
import numpy as np
import pytest

pytest.importorskip("torch")

from benchmarks.problem import make_problem, value_and_grad
from benchmarks.step import _difference, _torch_evaluations

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def problem():
    return make_problem("vgg16-lite", (64, 96))


@pytest.fixture(scope="module")
def ours(problem):
    (loss, _), grad = value_and_grad(problem.objective, *problem.arguments)
    return float(loss), np.asarray(grad)


def compare(problem, expected):
    evaluations, _ = _torch_evaluations(problem)
    return [_difference(what, evaluate, expected) for what, evaluate in evaluations.items()]


def test_the_same_loss_passes(problem, ours):
    for found in compare(problem, ours):
        assert found["differences"]["gradient_norm"] < 1e-3


@pytest.mark.parametrize(
    ("name", "factor"), [("content", 1.05), ("style", 1.05), ("tv", 1.05), ("tv_chroma", 1.05)]
)
def test_a_weight_that_is_off_is_found(problem, ours, name, factor):
    wrong = problem.numbers._replace(**{name: factor * getattr(problem.numbers, name)})
    with pytest.raises(AssertionError, match="another function would be timed"):
        compare(problem._replace(numbers=wrong), ours)


def test_another_target_or_image_is_found(problem, ours):
    style = dict(problem.targets.style)
    style["relu5_1"] = tuple(1.05 * target for target in style["relu5_1"])
    for wrong in (
        problem._replace(targets=problem.targets._replace(style=style)),
        problem._replace(image=problem.image + 0.01),
        problem._replace(params=jax.tree.map(lambda leaf: 1.01 * leaf, problem.params)),
    ):
        with pytest.raises(AssertionError, match="another function would be timed"):
            compare(wrong, ours)


def test_a_gradient_that_lacks_a_term_is_found(problem, ours):
    loss, grad = ours
    for wrong in (0.99 * grad, np.where(np.abs(grad) < np.median(np.abs(grad)), 0, grad)):
        with pytest.raises(AssertionError, match="gradient"):
            _difference("wrong", lambda wrong=wrong: (loss, wrong), ours)
