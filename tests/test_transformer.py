"""Transformation networks: layers against float64 sums, sizes, batches, gradients, shapes."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from feedforward_helpers import SMALL, parameters
from helpers import conv2d, halving_conv2d

from jaxnst.feedforward import TransformationNetwork
from jaxnst.feedforward.transformer import UpsampleConv

SHORT = SMALL.clone(widths=(4, 4), blocks=1)


def picture(height=32, width=40, seed=1):
    return np.random.default_rng(seed).uniform(0, 1, (height, width, 3)).astype(np.float32)


@partial(jax.jit, static_argnums=0)
def paint(module, params, image):
    return module.apply({"params": params}, image)


def doubled(x, kernel, upsampling, padding):
    """Convolve at twice the size by the definition, pixel by pixel."""
    h, w, _ = x.shape
    if upsampling == "resize":
        return conv2d(x.repeat(2, 0).repeat(2, 1), kernel, 0.0, padding)
    x = np.pad(x, [(1, 1), (1, 1), (0, 0)], mode="edge" if padding != "zero" else "constant")
    out = np.zeros((2 * h + 6, 2 * w + 6, kernel.shape[3]))
    for i in range(h + 2):
        for j in range(w + 2):
            out[2 * i : 2 * i + 3, 2 * j : 2 * j + 3] += np.einsum("c,klcd->kld", x[i, j], kernel)
    return out[3 : 2 * h + 3, 3 : 2 * w + 3]


def reference(module, params, image):
    """The whole network in float64; a picture whose sides are multiples of its stride."""
    params = {k: {n: np.asarray(v, np.float64) for n, v in p.items()} for k, p in params.items()}

    def normalized(name, x):
        of = params[f"{name}_norm"]
        mean = of["mean"] if "mean" in of else x.mean((0, 1))
        variance = of["variance"] if "mean" in of else x.var((0, 1))
        return of["gamma"] * (x - mean) / np.sqrt(variance + module.epsilon) + of["beta"]

    def layer(name, x):
        return normalized(name, conv2d(x, params[name]["kernel"], 0.0, module.padding))

    x = np.maximum(layer("conv1", module.scale * np.asarray(image, np.float64)), 0)
    mode = {"zero": "constant"}.get(module.padding, module.padding)
    for i in range(2, len(module.widths) + 1):
        x = np.pad(x, [(1, 1), (1, 1), (0, 0)], mode=mode)
        x = halving_conv2d(x, params[f"conv{i}"]["kernel"], 0)
        x = np.maximum(normalized(f"conv{i}", x), 0)
    for i in range(1, module.blocks + 1):
        x = x + layer(f"res{i}_2", np.maximum(layer(f"res{i}_1", x), 0))
    for i in range(1, len(module.widths)):
        x = doubled(x, params[f"up{i}"]["kernel"], module.upsampling, module.padding)
        x = np.maximum(normalized(f"up{i}", x), 0)
    x = conv2d(x, params["out"]["kernel"], params["out"]["bias"], module.padding)
    if module.output == "linear":
        return x / module.scale
    return 0.5 + 150 / 255 * np.tanh(x)


@pytest.mark.parametrize("padding", ["zero", "edge", "reflect"])
@pytest.mark.parametrize("upsampling", ["resize", "transposed"])
def test_upsample_convolutions_are_those_at_twice_the_size(rng, upsampling, padding):
    x = rng.normal(size=(5, 4, 3)).astype(np.float32)
    kernel = rng.normal(size=(3, 3, 3, 2)).astype(np.float32)
    expected = doubled(x, kernel, upsampling, padding)
    run = partial(
        UpsampleConv(2, upsampling, padding, "float32").apply, {"params": {"kernel": kernel}}
    )
    found = run(jnp.asarray(x))
    np.testing.assert_allclose(found, expected, atol=2e-5)
    np.testing.assert_allclose(run(jnp.asarray(x)[None])[0], found, atol=1e-6)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"upsampling": "transposed", "padding": "zero", "normalization": "batch"},
        {"output": "linear", "scale": 255.0, "padding": "edge", "widths": (4, 6), "blocks": 0},
    ],
)
def test_networks_are_the_sums_of_the_papers(changes):
    module = SMALL.clone(**changes)
    params, image = parameters(module), picture(16, 24)
    expected = reference(module, params, image)
    deviation = expected.std()
    assert deviation > 1e-3
    np.testing.assert_allclose(paint(module, params, image), expected, atol=1e-4 * deviation)


def test_a_picture_of_any_size_comes_out_in_its_size_and_is_mirrored_to_get_there():
    params, image = parameters(SHORT), picture(31, 37)
    whole = np.pad(image, [(0, 1), (0, 1), (0, 0)], mode="reflect")
    found = paint(SHORT, params, image)
    assert found.shape == image.shape
    np.testing.assert_allclose(found, paint(SHORT, params, whole)[:31, :37], atol=1e-5)


def test_pictures_that_cannot_be_mirrored_are_refused():
    with pytest.raises(ValueError, match="picture is 9x7, expected at least 8 pixels per side"):
        paint(SMALL, parameters(SMALL), picture(7, 9))


def test_batches_and_vmap_are_one_picture_after_the_other():
    params = parameters(SHORT)
    several = jnp.stack([jnp.asarray(picture(seed=seed)) for seed in range(3)])
    one_by_one = jnp.stack([paint(SHORT, params, image) for image in several])
    np.testing.assert_allclose(paint(SHORT, params, several), one_by_one, atol=2e-5)
    mapped = jax.vmap(lambda image: paint(SHORT, params, image))(several)
    np.testing.assert_allclose(mapped, one_by_one, atol=2e-5)


def test_flax_makes_the_parameters_that_are_listed_in_their_order():
    for module in (SMALL, SMALL.clone(normalization="batch", upsampling="transposed")):
        params = jax.eval_shape(module.init, jax.random.key(0), picture(8, 8))["params"]
        found = {f"{layer}/{k}": v.shape for layer, p in params.items() for k, v in p.items()}
        assert found == module.shapes()
    assert list(SMALL.shapes())[:3] == ["conv1/kernel", "conv1_norm/gamma", "conv1_norm/beta"]


def test_gradients_agree_with_finite_differences(rng):
    module = SHORT.clone(blocks=0)
    params, image = parameters(module), picture(8, 8)
    weights = jnp.asarray(rng.normal(size=image.shape), jnp.float32)

    @jax.jit
    def loss(params):
        return jnp.sum(weights * paint(module, params, image))

    gradient = jax.grad(loss)(params)
    for layer, part in (("conv1", "kernel"), ("conv2_norm", "gamma"), ("up1", "kernel")):
        values, slope = params[layer][part], gradient[layer][part]
        step = 1e-3 * slope / jnp.linalg.norm(slope)
        there, back = (
            loss({**params, layer: {**params[layer], part: values + sign * step}})
            for sign in (1, -1)
        )
        expected = 2 * 1e-3 * jnp.linalg.norm(slope)
        np.testing.assert_allclose(there - back, expected, rtol=2e-2)


def test_normalisation_keeps_its_digits_on_large_maps_far_from_zero():
    module = TransformationNetwork(widths=(4,), blocks=0, output="linear")
    params, image = parameters(module), 0.98 + 0.02 * picture(128, 128)
    found = np.asarray(paint(module, params, image))
    expected = np.asarray(reference(module, params, image))
    np.testing.assert_allclose(found, expected, atol=2e-3 * expected.std())


def test_half_precision_stays_near_and_normalises_in_full():
    params, image = parameters(SHORT), picture()
    exact = paint(SHORT, params, image)
    found = paint(SHORT.clone(precision="bfloat16"), params, image)
    assert found.dtype == jnp.float32
    assert 0 < np.abs(found - exact).mean() < 0.03


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"widths": ()}, r"widths is \(\), expected one to six numbers"),
        ({"widths": (4, 0)}, r"widths is \(4, 0\)"),
        ({"blocks": -1}, "blocks is -1, expected 0 to 100"),
        ({"scale": 0.0}, "scale is 0.0, expected a number above 0"),
        ({"epsilon": float("nan")}, "epsilon is nan"),
    ],
)
def test_fields_of_which_no_network_can_be_made_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        SMALL.clone(**changes).check()
