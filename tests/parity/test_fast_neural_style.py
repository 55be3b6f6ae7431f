"""Transformation networks of pytorch/examples, stated in PyTorch, and read from their files."""

import numpy as np
import pytest
from marks import AGAINST_ANOTHER

from jaxnst.feedforward import apply_model, load_model

pytestmark = AGAINST_ANOTHER

# Sixteen layers in float32 on values from 0 to 255; relative to 1.
TOLERANCE = 1e-4


def state_dict(torch, widths, blocks, *, old):
    """The names, and random values such that pictures have all levels."""
    a, b, c = widths
    sides = {"conv1": (3, a, 9), "conv2": (a, b, 3), "conv3": (b, c, 3)}
    sides |= {f"res{i}.conv{j}": (c, c, 3) for i in range(1, blocks + 1) for j in (1, 2)}
    sides |= {"deconv1": (c, b, 3), "deconv2": (b, a, 3), "deconv3": (a, 3, 9)}
    norms = {"in1": a, "in2": b, "in3": c, "in4": b, "in5": a}
    norms |= {f"res{i}.in{j}": c for i in range(1, blocks + 1) for j in (1, 2)}
    random = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(shape, generator=random)

    found = {}
    for name, (before, after, side) in sides.items():
        deviation = (2 / (before * side**2)) ** 0.5 * (40 if name == "deconv3" else 1)
        found[f"{name}.conv2d.weight"] = deviation * draw(after, before, side, side)
        found[f"{name}.conv2d.bias"] = draw(after) + (127 if name == "deconv3" else 0)
    for name, width in norms.items():
        found[f"{name}.weight"], found[f"{name}.bias"] = 1 + 0.3 * draw(width), 0.3 * draw(width)
        if old:
            found[f"{name}.running_mean"] = draw(width)
            found[f"{name}.running_var"] = 1 + draw(width) ** 2
            found[f"{name}.num_batches_tracked"] = torch.tensor(7)
    return found


def painted(torch, params, blocks, image):
    """What the original makes of a picture, levels clipped and divided by 255."""
    functional = torch.nn.functional

    def conv(name, x, stride=1):
        kernel = params[f"{name}.conv2d.weight"]
        x = functional.pad(x, [kernel.shape[-1] // 2] * 4, mode="reflect")
        return functional.conv2d(x, kernel, params[f"{name}.conv2d.bias"], stride)

    def norm(name, x):
        weight, bias = params[f"{name}.weight"], params[f"{name}.bias"]
        return functional.instance_norm(x, weight=weight, bias=bias)

    def enlarged(x):
        return functional.interpolate(x, scale_factor=2, mode="nearest")

    x = torch.from_numpy(255 * image).permute(2, 0, 1)[None]
    for i, stride in ((1, 1), (2, 2), (3, 2)):
        x = torch.relu(norm(f"in{i}", conv(f"conv{i}", x, stride)))
    for i in range(1, blocks + 1):
        y = torch.relu(norm(f"res{i}.in1", conv(f"res{i}.conv1", x)))
        x = x + norm(f"res{i}.in2", conv(f"res{i}.conv2", y))
    for i in (1, 2):
        x = torch.relu(norm(f"in{3 + i}", conv(f"deconv{i}", enlarged(x))))
    return conv("deconv3", x)[0].permute(1, 2, 0).clamp(0, 255).numpy() / 255


@pytest.mark.parametrize(
    ("widths", "blocks", "size", "legacy"),
    [((32, 64, 128), 5, (36, 44), False), ((4, 8, 8), 2, (33, 39), True)],
)
def test_files_of_pytorch_examples_paint_as_they_do(
    torch, tmp_path, rng, widths, blocks, size, legacy
):
    params = state_dict(torch, widths, blocks, old=legacy)
    path = tmp_path / "mosaic.model"
    torch.save(params, path, _use_new_zipfile_serialization=not legacy)
    model = load_model(path)
    assert (model.module.widths, model.module.blocks, model.name) == (widths, blocks, "mosaic")
    image = rng.uniform(0, 1, (*size, 3)).astype(np.float32)
    height, width = size
    mirrored = np.pad(image, [(0, -height % 4), (0, -width % 4), (0, 0)], mode="reflect")
    expected = painted(torch, params, blocks, mirrored)[:height, :width]
    assert 0.1 < expected.std() < 0.4
    np.testing.assert_allclose(apply_model(model, image), expected, atol=TOLERANCE)


def test_a_state_dict_of_another_network_is_refused_with_what_is_missing(torch, tmp_path):
    params = state_dict(torch, (4, 8, 8), 2, old=False)
    del params["res2.conv1.conv2d.weight"]
    params["deconv4.conv2d.weight"] = params["deconv2.conv2d.weight"]
    torch.save(params, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"other.pth does not fit the network: .*up4/kernel"):
        load_model(tmp_path / "other.pth")
