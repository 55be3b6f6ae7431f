"""The same network with the same parameters in PyTorch."""

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnst.networks import extract_features, init_network

pytestmark = [
    pytest.mark.torch,
    # What PyTorch warns of is not ours to mend.
    pytest.mark.filterwarnings("ignore"),
]

# Sixteen layers, each a sum of up to 4608 products in float32; relative to a layer's largest value.
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="PyTorch is not installed: extra `torch`")


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
