"""Loss networks: names, depth, preprocessing, and features against a float64 forward pass."""

import dataclasses
import inspect
from functools import partial
from itertools import pairwise
from pathlib import Path

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnst.image import load_image, resize
from jaxnst.networks import (
    NETWORKS,
    PREPROCESSING,
    extract_features,
    init_network,
    load_network,
    make_network,
)
from jaxnst.networks import registry as networks_registry
from jaxnst.networks.densenet import DenseNet
from jaxnst.networks.squeezenet import SqueezeNet
from jaxnst.networks.vgg import VGG, VGG16, VGG16_LITE, VGG19, VGG19_LITE
from jaxnst.recipes.schema import Space

EXAMPLE = Path(__file__).parent.parent / "examples" / "content.jpg"

SKEWED = Space(order="bgr", scale=2.0, mean=(0.1, 0.2, 0.3), deviation=(1.0, 0.5, 2.0))

# Layers and their widths as the paper's table 1 has them (Simonyan and Zisserman 2015, D and E).
TABLES = {
    "vgg16": "64 64 | 128 128 | 256 256 256 | 512 512 512 | 512 512 512",
    "vgg19": "64 64 | 128 128 | 256 256 256 256 | 512 512 512 512 | 512 512 512 512",
    "vgg19-lite": "32 32 | 64 64 | 128 128 | 128 128 | 128",
    "vgg16-lite": "32 32 | 64 64 | 128 128 128 | 256 256 256 | 512",
}


@pytest.fixture(scope="module")
def lite():
    return init_network("vgg16-lite")


@pytest.fixture(scope="module")
def tiny():
    return helpers.tiny_network(SKEWED)


@pytest.fixture(scope="module")
def image():
    return jnp.asarray(helpers.picture(16, 24))


def expected_features(network, image, **options):
    parameters = helpers.flat(network.params)
    return helpers.vgg_features(helpers.encode(image, network.preprocessing), parameters, **options)


def assert_features(found, expected, names, tolerance=1e-5):
    """Relative to the largest value of each layer, as errors of sums are."""
    assert set(found) == set(names)
    for name in names:
        assert found[name].shape == expected[name].shape
        error = np.abs(found[name] - expected[name]).max() / np.abs(expected[name]).max()
        assert error < tolerance, f"{name}: {error}"


def convolutions(network, layers):
    """How many convolutions the program for some layers holds."""

    def run(params, image):
        return network.features(params, image, layers)

    text = str(jax.make_jaxpr(run)(network.params, jnp.zeros((32, 32, 3))))
    return text.count("conv_general_dilated[")


# Tables and names.


@pytest.mark.parametrize("name", TABLES)
def test_widths_are_those_of_the_paper(name):
    blocks = tuple(tuple(map(int, b.split())) for b in TABLES[name].split("|"))
    assert NETWORKS[name].module.blocks == blocks
    shapes = VGG(blocks).shapes()
    widths = [3, *(w for block in blocks for w in block)]
    kernels = [shape for key, shape in shapes.items() if key.endswith("kernel")]
    assert kernels == [(3, 3, a, b) for a, b in pairwise(widths)]


def test_layer_names_are_those_of_the_literature(tiny):
    assert tiny.layers == (
        *("conv1_1", "relu1_1", "conv1_2", "relu1_2", "pool1"),
        *("conv2_1", "relu2_1", "pool2"),
        *("conv3_1", "relu3_1", "conv3_2", "relu3_2", "pool3"),
    )
    names = list(VGG(VGG19).table())
    assert len(names) == 16 * 2 + 5 and names[-3:] == ["conv5_4", "relu5_4", "pool5"]


def test_the_bundled_network_has_every_layer_the_default_recipe_names(lite):
    wanted = ["relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu4_2", "relu5_1"]
    assert set(wanted) <= set(lite.layers)


def test_the_bundled_network_costs_at_most_an_eighth_of_vgg19():
    """Multiplications to relu5_1 per pixel of the image."""

    def cost(blocks):
        total, channels = 0.0, 3
        for name, layer in VGG(blocks).table().items():
            if name.startswith("conv"):
                total += 9 * channels * layer.channels / layer.stride**2
                channels = layer.channels
            if name == "relu5_1":
                return total
        raise AssertionError("no relu5_1")

    assert cost(VGG19) / cost(VGG19_LITE) > 8


@pytest.mark.parametrize(
    ("layer", "pixels"),
    [("conv1_1", 1), ("relu1_2", 1), ("pool1", 2), ("relu2_1", 2), ("pool2", 4), ("conv5_1", 16)],
)
def test_stride_is_the_pixels_per_position(lite, layer, pixels):
    assert lite.stride(layer) == pixels
    see = partial(lite.features, lite.params, layers=(layer,))
    found = jax.eval_shape(see, jnp.zeros((32, 32, 3)))[layer]
    assert found.shape[:2] == (32 // pixels, 32 // pixels)


@pytest.mark.parametrize(
    ("alias", "name"),
    [("block1_conv1", "relu1_1"), ("block3_conv2", "relu3_2"), ("block2_pool", "pool2")],
)
def test_keras_names_mean_the_layer_after_its_activation(tiny, image, alias, name):
    assert tiny.resolve(alias) == name
    assert tiny.stride(alias) == tiny.stride(name)
    found = extract_features(tiny, image, [alias, name])
    assert set(found) == {alias, name}
    np.testing.assert_array_equal(found[alias], found[name])


def test_block4_conv2_is_relu4_2(lite):
    assert lite.resolve("block4_conv2") == "relu4_2"


@pytest.mark.parametrize(
    ("layer", "nearest"),
    [("relu3_3", "relu3_"), ("rleu2_1", "relu2_1"), ("block3_conv9", None), ("Relu1_1", "relu1_1")],
)
def test_an_unknown_layer_is_a_key_error_with_the_nearest_name(tiny, image, layer, nearest):
    for call in (
        partial(tiny.resolve, layer),
        partial(extract_features, tiny, image, ["relu1_1", layer]),
        partial(tiny.features, tiny.params, image, (layer,)),
    ):
        with pytest.raises(KeyError) as raised:
            call()
        message = raised.value.args[0]
        assert repr(layer) in message and "tiny" in message and "\n" not in message
        assert "relu3_2" in message  # what there is
        if nearest:
            assert f"did you mean '{nearest}" in message


def test_an_unknown_network_is_a_key_error_with_the_nearest_name():
    for call in (load_network, init_network):
        with pytest.raises(KeyError) as raised:
            call("vgg9")
        assert "did you mean 'vgg19'" in raised.value.args[0]


def test_networks_that_do_not_ship_ask_for_a_file():
    for name in ("vgg16", "vgg19"):
        with pytest.raises(ValueError, match=f"{name} is not bundled.*weights"):
            load_network(name)


@pytest.mark.parametrize(
    ("size", "layer"), [((1, 8), "relu2_1"), ((8, 3), "relu3_1"), ((7, 8), "pool3")]
)
def test_an_image_too_small_for_a_layer_is_refused(tiny, size, layer):
    least = tiny.stride(layer)
    message = f"image is {size[1]}x{size[0]} but {layer} needs at least {least} pixels per side"
    with pytest.raises(ValueError, match=message):
        tiny.features(tiny.params, jnp.zeros((*size, 3)), ("relu1_1", layer))
    see = partial(tiny.features, tiny.params, layers=(layer,))
    assert jax.eval_shape(see, jnp.zeros((least, least, 3)))[layer].shape[:2] == (1, 1)


# Features.


@pytest.mark.parametrize("padding", ["zero", "edge", "reflect"])
@pytest.mark.parametrize("pooling", ["max", "avg", "avg-scaled"])
def test_every_layer_equals_float64(tiny, image, padding, pooling):
    network = tiny.configure(padding=padding, pooling=pooling)
    expected = expected_features(network, image, padding=padding, pooling=pooling)
    found = extract_features(network, image, network.layers)
    assert_features(found, expected, network.layers)


def test_scaled_means_make_maps_about_as_large_as_maxima_do():
    network = load_network("vgg16-lite")
    image = resize(load_image(EXAMPLE), (96, 128))
    layers = ("relu2_1", "relu3_1", "relu4_1", "relu5_1")

    def means(pooling):
        found = extract_features(network.configure(pooling=pooling), image, layers)
        return np.array([np.mean(found[name]) for name in layers])

    maxima = means("max")
    *shallow, deepest = means("avg-scaled") / maxima
    np.testing.assert_allclose(shallow, 1, atol=0.2)
    assert 0.5 < deepest < 1
    assert means("avg")[-1] / maxima[-1] < 0.25


@pytest.mark.parametrize("shape", [(17, 23), (9, 8)])
def test_odd_sizes_drop_the_last_row_or_column_in_pooling(tiny, shape):
    odd = jnp.asarray(helpers.picture(*shape))
    found = extract_features(tiny, odd, tiny.layers)
    assert_features(found, expected_features(tiny, odd), tiny.layers)


def test_some_convolutions_may_pad_otherwise(image):
    exceptions = (("conv1_1", "edge"), ("conv3_1", "reflect"))
    network = helpers.tiny_network(SKEWED, exceptions=exceptions)
    expected = expected_features(network, image, exceptions=exceptions)
    assert_features(extract_features(network, image, network.layers), expected, network.layers)
    without = expected_features(network, image)
    for name in ("relu1_1", "conv3_1"):
        assert np.abs(without[name][0] - expected[name][0]).max() > 0.01


@pytest.mark.parametrize("name", TABLES)
def test_the_real_tables_equal_float64(name):
    """All layers down to relu5_1, at the least size that has one."""
    network = init_network(name)
    tiny_image = jnp.asarray(helpers.picture(16, 16))
    parameters = {
        key: value
        for key, value in helpers.flat(network.params).items()
        if key.split("/")[0] <= "conv5_1"
    }
    expected = helpers.vgg_features(
        helpers.encode(tiny_image, network.preprocessing),
        parameters,
        padding=NETWORKS[name].module.padding,
        exceptions=NETWORKS[name].module.exceptions,
    )
    names = ("relu1_1", "pool1", "relu3_1", "conv4_2", "relu4_2", "relu5_1")
    # Up to 13 layers of sums of 4608 products.
    assert_features(extract_features(network, tiny_image, names), expected, names, 1e-4)


@pytest.mark.parametrize("shape", [(37, 46), (29, 29)])
def test_a_densenet_equals_float64(shape):
    """Every layer, at an odd size and at the least that reaches the last layer."""
    blocks = (2, 1, 1, 1)
    module = DenseNet(blocks, epsilon=1e-3)  # large, to be seen
    rng = np.random.default_rng(0)
    parameters = {}
    for name, sizes in module.shapes().items():
        parameters[name] = rng.normal(0, np.sqrt(2 / np.prod(sizes[:-1])), sizes)
        if len(sizes) == 1:
            parameters[name] = rng.uniform(0.01 if "variance" in name else -0.5, 1, sizes)
    network = make_network("small", module, SKEWED, parameters)
    picture = helpers.picture(*shape)
    expected = helpers.densenet_features(
        helpers.encode(picture, SKEWED), parameters, blocks, module.epsilon
    )
    assert list(expected) == list(network.layers)
    found = extract_features(network, jnp.asarray(picture), network.layers)
    assert_features(found, expected, network.layers, 1e-4)


@pytest.mark.parametrize("shape", [(50, 39), (31, 31)])
def test_squeezenet_equals_float64(shape):
    network = init_network("squeezenet1.1")
    picture = helpers.picture(*shape)
    encoded = helpers.encode(picture, network.preprocessing)
    expected = helpers.squeezenet_features(
        encoded, helpers.flat(network.params), range(2, 10), (3, 5)
    )
    assert set(expected) == set(network.layers)
    found = extract_features(network, jnp.asarray(picture), network.layers)
    assert_features(found, expected, network.layers, 1e-4)


def layer_shapes(module, side, layers):
    """The shapes of some layers' feature maps, as JAX derives them from the computation."""
    image = jax.ShapeDtypeStruct((side, side, 3), jnp.float32)
    params = {}
    for name, shape in module.shapes().items():
        layer, part = name.split("/")
        params.setdefault(layer, {})[part] = jax.ShapeDtypeStruct(shape, jnp.float32)

    def run(params, image):
        return module.apply({"params": params}, image, layers)

    return {name: maps.shape for name, maps in jax.eval_shape(run, params, image).items()}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_table_has_the_channels_and_strides_of_every_layer(name):
    module = NETWORKS[name].module
    table = module.table()
    large = layer_shapes(module, 1024, tuple(table))
    for name, layer in table.items():
        assert large[name][2] == layer.channels
        assert abs(large[name][0] - 1024 / layer.stride) <= 1


SHALLOW = [VGG(VGG19), VGG(VGG16_LITE, padding="edge"), DenseNet((2, 1, 1, 1)), SqueezeNet()]


@pytest.mark.parametrize("module", SHALLOW, ids=["vgg19", "vgg16-lite", "densenet", "squeezenet"])
def test_the_table_has_the_least_size_of_every_layer(module):
    table = module.table()
    for least in {layer.least for layer in table.values()}:
        fits = tuple(n for n, layer in table.items() if layer.least == least)
        assert min(size[0] for size in layer_shapes(module, least, fits).values()) == 1
        for layer in (fits[0], fits[-1]) if least > 1 else ():
            # As padding a map of 0, whose edges there are none of.
            with pytest.raises((ValueError, TypeError, AssertionError, IndexError)):
                assert layer_shapes(module, least - 1, (layer,))[layer][0] > 0


def test_preprocessing_of_the_networks():
    """VGG's published parameters are Caffe's: BGR, 0 to 255, without the mean."""
    for name in ("vgg16", "vgg19"):
        assert NETWORKS[name].preprocessing == "caffe"
    caffe = PREPROCESSING["caffe"]
    assert (caffe.order, caffe.scale, caffe.mean) == ("bgr", 255, (103.939, 116.779, 123.68))
    assert caffe.deviation == (1, 1, 1)


def test_features_of_a_batch_equal_those_of_its_images(tiny, image):
    batch = jnp.stack([image, image[::-1]])
    names = ("relu1_1", "relu3_2")
    mapped = jax.jit(jax.vmap(lambda x: tiny.features(tiny.params, x, names)))(batch)
    whole = jax.jit(lambda x: tiny.features(tiny.params, x, names))(batch)
    for i in range(2):
        alone = extract_features(tiny, batch[i], names)
        assert_features({n: mapped[n][i] for n in names}, alone, names)
        assert_features({n: whole[n][i] for n in names}, alone, names)


def test_gradient_through_a_network_equals_finite_differences(tiny, rng):
    """Through every kind of layer at once, preprocessing included."""
    small = helpers.picture(8, 8)
    weights = rng.normal(size=(2, 2, 8))

    def loss(image):
        found = tiny.features(tiny.params, image, ("relu3_2",))["relu3_2"]
        return jnp.sum(jnp.asarray(weights, jnp.float32) * found)

    def reference(image):
        return np.sum(weights * expected_features(tiny, image)["relu3_2"])

    direction = rng.normal(size=small.shape)
    found = np.vdot(jax.jit(jax.grad(loss))(jnp.asarray(small)), direction)
    np.testing.assert_allclose(found, helpers.slope(reference, small, direction), rtol=1e-4)


# Depth.


@pytest.mark.parametrize(
    ("layers", "count"),
    [
        (("conv1_1",), 1),
        (("relu1_1",), 1),
        (("relu1_2", "relu1_1"), 2),
        (("pool1",), 2),
        (("relu2_1",), 3),
        (("relu1_1", "block3_conv1", "relu3_1"), 4),
        (("pool3",), 5),
    ],
)
def test_nothing_is_computed_beyond_the_deepest_layer(tiny, layers, count):
    assert convolutions(tiny, layers) == count


def test_repeated_layers_are_given_once(tiny, image):
    assert list(extract_features(tiny, image, ["relu1_1", "relu1_1"])) == ["relu1_1"]
    assert list(extract_features(tiny, image, "relu1_1")) == ["relu1_1"]


def test_pictures_of_integers_are_refused(tiny):
    features = inspect.unwrap(type(tiny).features)  # as it is without the tests' checks of types
    with pytest.raises(TypeError, match="image has dtype uint8, expected floating point"):
        features(tiny, tiny.params, np.zeros((32, 32, 3), np.uint8), ("relu1_1",))


# Values and configuration.


def test_configure_keeps_what_it_is_not_told(tiny):
    assert tiny.configure() == tiny
    average = tiny.configure(pooling="avg")
    assert average.module.pooling == "avg" and average.module.padding == tiny.module.padding
    assert average.layers == tiny.layers and average.params is tiny.params
    edge = init_network("vgg19-lite").configure(pooling="avg")
    assert dict(edge.module.exceptions)["conv1_1"] == "edge"
    assert edge.configure(padding="zero").module.exceptions == ()
    assert tiny.module.pooling == "max"  # the original is untouched


@pytest.mark.parametrize("name", ["pooling", "padding", "first_padding", "precision"])
def test_configure_refuses_what_there_is_not(name):
    network = init_network("vgg16-lite")
    configure = inspect.unwrap(type(network).configure)
    with pytest.raises(ValueError, match=f"{name.replace('_', ' ')} is 'mean', expected one of"):
        configure(network, **{name: "mean"})


def test_equality_and_hash_ignore_parameters_only(tiny):
    other = helpers.tiny_network(SKEWED, seed=1)
    assert not np.array_equal(other.params["conv1_1"]["kernel"], tiny.params["conv1_1"]["kernel"])
    assert other == tiny and hash(other) == hash(tiny)
    for different in (
        tiny.configure(pooling="avg"),
        tiny.configure(padding="edge"),
        dataclasses.replace(tiny, preprocessing=Space()),
        dataclasses.replace(tiny, name="other"),
        helpers.tiny_network(SKEWED, blocks=((4, 4), (6,), (8, 9))),
    ):
        assert different != tiny


def test_parameters_are_an_argument_of_the_program_and_not_part_of_it(image):
    one, other = (helpers.tiny_network(SKEWED, seed=s) for s in (0, 1))
    jaxpr = jax.make_jaxpr(lambda p, x: one.features(p, x, ("relu3_2",)))(one.params, image)
    assert all(np.size(constant) <= 3 for constant in jaxpr.consts)  # a mean at most

    extract_features(one, image, ["relu3_2"])
    programs = networks_registry._features._cache_size()
    found = extract_features(other, image, ["relu3_2"])
    assert networks_registry._features._cache_size() == programs
    assert_features(found, expected_features(other, image), ["relu3_2"])


def test_a_network_whose_parameters_end_early_ends_there(image):
    shapes = VGG(VGG16).shapes()
    first = [key for key in shapes if key.split("/")[0] <= "conv2_1"]
    parameters = {key: np.zeros(shapes[key]) for key in first}
    network = make_network("cut", VGG(VGG16), Space(), parameters)
    assert network.layers[-1] == "relu2_1"
    with pytest.raises(KeyError, match="did you mean 'relu2_1'"):
        network.resolve("relu2_2")
    assert extract_features(network, image, ["relu2_1"])["relu2_1"].shape == (8, 12, 128)


def test_random_networks_are_decided_by_their_seed():
    one, same, other = (init_network("vgg19-lite", seed=s) for s in (0, 0, 1))
    for found, expected in zip(
        jax.tree.leaves(one.params), jax.tree.leaves(same.params), strict=True
    ):
        np.testing.assert_array_equal(found, expected)
    assert np.abs(one.params["conv1_1"]["kernel"] - other.params["conv1_1"]["kernel"]).max() > 0.1
