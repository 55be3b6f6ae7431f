"""The same network with the same parameters in PyTorch."""

import re

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from marks import AGAINST_ANOTHER

from jaxnst.networks import extract_features, init_network, load_network

pytestmark = AGAINST_ANOTHER

# Sixteen layers, each a sum of up to 4608 products in float32; relative to a layer's largest value.
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def network():
    return init_network("vgg19")


@pytest.fixture(scope="module")
def image():
    return helpers.picture(64, 64)


def caffe(torch, image):
    """The published parameters' preprocessing as PyTorch code has it: (1, 3, H, W), BGR."""
    x = torch.tensor(image).permute(2, 0, 1)[None]
    x = x[:, [2, 1, 0]] * 255
    return x - torch.tensor([103.939, 116.779, 123.68]).view(1, 3, 1, 1)


def forward(torch, x, params, padding_mode="zeros", pooling="max"):
    """Every layer of a VGG19, of torch.nn modules."""
    pool = {"max": torch.nn.MaxPool2d(2, 2), "avg": torch.nn.AvgPool2d(2, 2)}[pooling]
    found = {}
    for block, count in enumerate((2, 2, 4, 4, 4), 1):
        for i in range(1, count + 1):
            kernel = np.asarray(params[f"conv{block}_{i}"]["kernel"])
            bias = np.asarray(params[f"conv{block}_{i}"]["bias"])
            layer = torch.nn.Conv2d(
                kernel.shape[2], kernel.shape[3], 3, padding=1, padding_mode=padding_mode
            )
            layer.weight.data = torch.tensor(kernel.transpose(3, 2, 0, 1).copy())
            layer.bias.data = torch.tensor(bias)
            x = found[f"conv{block}_{i}"] = layer(x)
            x = found[f"relu{block}_{i}"] = torch.relu(x)
        x = found[f"pool{block}"] = pool(x)
    return found


def assert_close(found, expected):
    """``(H, W, C)`` against ``(1, C, H, W)``."""
    expected = expected.detach().numpy()[0].transpose(1, 2, 0)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < TOLERANCE * np.abs(expected).max()


@pytest.mark.parametrize(
    ("padding", "mode", "pooling"),
    [("zero", "zeros", "max"), ("edge", "replicate", "avg"), ("reflect", "reflect", "max")],
)
def test_features_of_vgg19(torch, network, image, padding, mode, pooling):
    network = network.configure(padding=padding, pooling=pooling)
    names = [name for name in network.layers if name.startswith(("relu", "pool", "conv5"))]
    if padding == "reflect":  # PyTorch refuses to reflect more pixels than there are
        image = helpers.picture(64, 96)
    found = extract_features(network, jnp.asarray(image), names)
    expected = forward(torch, caffe(torch, image), network.params, mode, pooling)
    for name in names:
        assert_close(found[name], expected[name])


def test_gradient_of_a_style_loss(torch, network, image):
    """Through the network and a Gram matrix, as a program in PyTorch would have it."""
    names = ("relu1_1", "relu3_1")

    def ours(image):
        features = network.features(network.params, image, names)
        flat = [f.reshape(-1, f.shape[-1]) for f in features.values()]
        return sum(jnp.mean((f.T @ f / f.size) ** 2) for f in flat)

    value, grad = jax.jit(jax.value_and_grad(ours))(jnp.asarray(image))

    x = torch.tensor(image, requires_grad=True)
    planes = x.permute(2, 0, 1)[None][:, [2, 1, 0]] * 255
    planes = planes - torch.tensor([103.939, 116.779, 123.68]).view(1, 3, 1, 1)
    features = forward(torch, planes, network.params)
    total = 0
    for name in names:
        flat = features[name].flatten(2)[0]
        total = total + torch.mean((flat @ flat.T / flat.numel()) ** 2)
    total.backward()
    expected = x.grad.numpy()
    np.testing.assert_allclose(value, total.item(), rtol=TOLERANCE)
    assert np.abs(grad - expected).max() < 1e-3 * np.abs(expected).max()


# DenseNet121, as torchvision builds it: names, epsilon and order of layers.


def make_densenet(torch, blocks):
    """A DenseNet of torch.nn modules with torchvision's names, and random statistics."""
    nn = torch.nn

    def norm(width):
        layer = nn.BatchNorm2d(width)
        layer.running_mean.normal_(0, 0.1)
        layer.running_var.uniform_(0.001, 1.5)
        nn.init.uniform_(layer.weight, 0.5, 1.5)
        nn.init.normal_(layer.bias, 0, 0.1)
        return layer

    features = nn.Sequential()
    features.add_module("conv0", nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False))
    features.add_module("norm0", norm(64))
    width = 64
    for b, depth in enumerate(blocks, 1):
        block = nn.Module()
        for i in range(1, depth + 1):
            layer = nn.Module()
            layer.norm1, layer.conv1 = norm(width), nn.Conv2d(width, 128, 1, bias=False)
            layer.norm2, layer.conv2 = norm(128), nn.Conv2d(128, 32, 3, padding=1, bias=False)
            block.add_module(f"denselayer{i}", layer)
            width += 32
        features.add_module(f"denseblock{b}", block)
        if b < len(blocks):
            transition = nn.Module()
            transition.norm = norm(width)
            transition.conv = nn.Conv2d(width, width // 2, 1, bias=False)
            features.add_module(f"transition{b}", transition)
            width //= 2
    features.add_module("norm5", norm(width))
    whole = nn.Module()
    whole.features, whole.classifier = features, nn.Linear(width, 10)
    return whole.eval()


def densenet_forward(torch, features, blocks, x):
    """What some of its layers give, by Keras' names for them."""
    F = torch.nn.functional
    found = {}
    found["conv1_relu"] = x = F.relu(features.norm0(features.conv0(x)))
    found["pool1"] = x = F.max_pool2d(x, 3, stride=2, padding=1)
    for b, depth in enumerate(blocks, 1):
        block = getattr(features, f"denseblock{b}")
        for i in range(1, depth + 1):
            layer, name = getattr(block, f"denselayer{i}"), f"conv{b + 1}_block{i}"
            found[f"{name}_0_relu"] = y = F.relu(layer.norm1(x))
            found[f"{name}_1_conv"] = y = layer.conv1(y)
            found[f"{name}_2_conv"] = y = layer.conv2(F.relu(layer.norm2(y)))
            found[f"{name}_concat"] = x = torch.cat([x, y], 1)
        if b < len(blocks):
            transition = getattr(features, f"transition{b}")
            x = transition.conv(F.relu(transition.norm(x)))
            found[f"pool{b + 1}_pool"] = x = F.avg_pool2d(x, 2)
    found["bn"] = features.norm5(x)
    return found


@pytest.mark.parametrize("old", [False, True])
def test_a_densenet121_of_pytorch_read_from_its_file(torch, tmp_path, old):
    torch.manual_seed(0)
    blocks = (6, 12, 24, 16)
    model = make_densenet(torch, blocks)
    state = model.state_dict()
    if old:  # as the official files spell it
        state = {re.sub(r"\.(norm|conv)([12])\.", r".\1.\2.", key): v for key, v in state.items()}
        assert "features.denseblock1.denselayer1.norm.1.weight" in state
    torch.save(state, tmp_path / "densenet121.pth")
    network = load_network("densenet121", weights=tmp_path / "densenet121.pth")
    assert network.module.epsilon == 1e-5
    image = helpers.picture(45, 70)
    mean, deviation = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    x = torch.tensor(image).permute(2, 0, 1)[None]
    x = (x - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(deviation).view(1, 3, 1, 1)
    with torch.no_grad():
        expected = densenet_forward(torch, model.features, blocks, x)
    found = extract_features(network, jnp.asarray(image), list(expected))
    for name, values in expected.items():
        assert_close(found[name], values)
