"""``scripts/narrow.py`` and ``distill.py``, against plain least squares and jaxnst itself."""

import sys
from pathlib import Path

import numpy as np
import pytest
from marks import AGAINST_ANOTHER
from safetensors.numpy import load_file

import jaxnst
from jaxnst.losses.statistics import get_statistic

sys.path.append(str(Path(__file__).parents[2] / "scripts"))

torch = pytest.importorskip("torch", reason="PyTorch is not installed: extra `torch`")
import distill  # noqa: E402
import narrow  # noqa: E402

pytestmark = AGAINST_ANOTHER


@pytest.fixture
def problem():
    """Patches of 12 channels: 1 and 7 hardly count, 3 follows from two others."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, 12, 10, 10, generator=generator)
    x[:, 3] = x[:, 4] * 0.9 + x[:, 5] * 0.3
    kernel = torch.randn(20, 12, 3, 3, generator=generator)
    kernel[:, [1, 7]] *= 0.05
    bias = torch.randn(20, generator=generator)
    y = torch.nn.functional.conv2d(x, kernel, bias, padding=1)
    moments = narrow.Moments(12, 20)
    moments.add(torch.nn.functional.pad(x, (1, 1, 1, 1)), y, torch.arange(400))
    return x, y, moments


def test_a_fitted_kernel_gives_the_outputs(problem):
    x, y, moments = problem
    kernel, bias = narrow.fit(moments)
    made = torch.nn.functional.conv2d(x, kernel, bias, padding=1)
    assert (made - y).abs().max() < 1e-3 * y.abs().max()


def test_channels_are_left_out_whose_absence_costs_least(problem):
    _, _, moments = problem
    assert narrow.choose(moments, 9) == [0, 2, 4, 5, 6, 8, 9, 10, 11]

    def gain(left_out):  # squared outputs that least squares explain without a channel
        rows = [i for i in range(109) if i // 9 != left_out]
        inputs, outputs = moments.ridged()[rows][:, rows], moments.outputs[rows]
        return (torch.linalg.solve(inputs, outputs) * outputs).sum()

    best = max(range(12), key=gain)
    assert best not in narrow.choose(moments, 11)
    assert len(narrow.choose(moments, 11)) == 11


def test_an_exported_student_is_the_same_network_in_jaxnst_but_for_the_strength(tmp_path):
    torch.manual_seed(0)
    scales = {name: torch.ones(1, 8, 1, 1) for name in distill.LAYERS}
    student = distill.Student(scales).eval()
    image = np.random.default_rng(0).random((48, 64, 3), np.float32)
    batch = torch.from_numpy(image).permute(2, 0, 1)[None]
    strength = {"relu" + name.removeprefix("conv"): 7.0 for name in student.vgg.convs}
    distill.export(student, strength, scales, lambda _: batch, tmp_path)
    with torch.no_grad():
        expected = student.vgg(student.encode(batch))
        predicted = student(batch)
    network = jaxnst.load_network("vgg16-lite", weights=tmp_path / "vgg16-lite.safetensors")
    probes = load_file(tmp_path / "vgg16-lite-probes.safetensors")
    made = jaxnst.extract_features(network, image, distill.LAYERS)
    for name in distill.LAYERS:
        ours = np.asarray(made[name])
        theirs = expected[name][0].permute(1, 2, 0).numpy()
        theirs = theirs * 7 / np.sqrt((theirs**2).mean())
        # Parameters are rounded to float16 on the way.
        np.testing.assert_allclose(ours, theirs, atol=3e-3 * theirs.max(), rtol=0)
        probed = ours @ probes[f"{name}/kernel"] + probes[f"{name}/bias"]
        reference = predicted[name][0].permute(1, 2, 0).numpy()
        np.testing.assert_allclose(probed, reference, atol=3e-3 * np.abs(reference).max(), rtol=0)

    again = distill.Student(scales)
    distill.load_student(again, tmp_path / "vgg16-lite.safetensors")
    with torch.no_grad():
        features = again.vgg(again.encode(batch))
    for value in features.values():
        torch.testing.assert_close(
            value.square().mean().sqrt(), torch.tensor(7.0), rtol=0.01, atol=0
        )


def test_the_statistic_is_the_recipe_s_covariance(features):
    ours = get_statistic("covariance")(features)
    theirs = distill.statistic(torch.from_numpy(np.array(features)).permute(2, 0, 1)[None])
    np.testing.assert_allclose(ours, theirs[0].numpy(), rtol=1e-4, atol=1e-5)


def test_the_loss_on_statistics_is_relative():
    features = torch.rand(2, 5, 6, 7, generator=torch.Generator().manual_seed(0)) + 0.5
    target = distill.statistic(features)
    assert distill.statistics_loss(features, target) == 0
    nothing = distill.statistics_loss(torch.zeros_like(features), target)
    torch.testing.assert_close(nothing, torch.tensor(1.0), rtol=1e-5, atol=0)
