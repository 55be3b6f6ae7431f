"""``scripts/judge.py``: the numbers by which pictures are compared."""

import sys
from pathlib import Path

import helpers
import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "scripts"))

import judge


def test_the_statistic_is_the_covariance_with_the_mean_below(rng):
    features = rng.normal(1, 2, (6, 7, 5))
    flat = features.reshape(42, 5)
    np.testing.assert_allclose(judge.statistic(features)[:5], np.cov(flat.T, bias=True))
    np.testing.assert_allclose(judge.statistic(features)[5], flat.mean(0))


def test_grain_of_simple_pictures():
    board = np.indices((8, 8)).sum(0)[..., None] % 2 * np.ones(3)
    assert judge.grain(board) == 4  # |1 - 2 * 0 + 1| along either axis
    ramp = np.linspace(0, 1, 9)[None, :, None] * np.ones((9, 9, 3))
    assert judge.grain(ramp) == pytest.approx(0)


@pytest.mark.weights
def test_a_photograph_is_as_far_from_the_style_as_itself_and_a_painting_is_not(shared):
    content, style = helpers.picture(96, 128, seed=1), helpers.picture(96, 128, seed=2)
    numbers = judge.Judge(shared)
    unpainted = numbers(content, content, style)
    assert unpainted["style"] == pytest.approx(1)
    assert unpainted["content"] == 0
    assert unpainted["grain"] <= 1
    painting = numbers(style, content, style)
    assert painting["style"] == pytest.approx(0)
    assert painting["content"] == pytest.approx(1)
