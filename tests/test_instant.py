"""Whitening and coloring: transforms, decoders, and whole pictures in one pass."""

import dataclasses
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import conv2d, encode, flat, tiny_network, vgg_features
from PIL import Image
from safetensors.numpy import save_file
from threadpoolctl import threadpool_info

from jaxnst._checks import share
from jaxnst.feedforward.decoders import (
    Decoder,
    load_autoencoders,
    make_autoencoder,
    read_autoencoder,
)
from jaxnst.feedforward.instant import OnePass, instant, lapack_on_one_thread
from jaxnst.feedforward.settings import Instant, as_levels
from jaxnst.feedforward.wct import covariance, style_root, to_style, transfer
from jaxnst.image import load_image
from jaxnst.networks import PREPROCESSING, load_network
from jaxnst.networks.registry import params_by_layer
from jaxnst.networks.vgg import VGG, VGG19, VGG19_LITE
from jaxnst.transfer.style_cache import style_images
from jaxnst.weights import bundled, write_parameters
from jaxnst.weights.native import FORMAT

LEVELS = (3, 2, 1)

ROOT = Path(__file__).parent.parent

FLOORS = {5: 22, 4: 25, 3: 28, 2: 30, 1: 39}
"""Least signal to noise of the example after each level of the decoders that ship, dB."""


def picture(seed, height=40, width=56):
    """Smooth colors, so that no covariance is close to singular."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0, 1, (-(-height // 4), -(-width // 4), 3))
    fine = np.kron(coarse, np.ones((4, 4, 1)))[:height, :width]
    return np.clip(0.8 * fine + 0.2 * rng.uniform(0, 1, fine.shape), 0, 1).astype(np.float32)


@pytest.fixture(scope="module")
def autoencoders():
    return make_autoencoders(tiny_network(PREPROCESSING["imagenet"], padding="edge"))


def random_parameters(decoder, rng):
    """Flat parameters of a decoder that was never trained."""
    parameters = {}
    for name, shape in decoder.shapes().items():
        kernel = len(shape) == 4
        spread = np.sqrt(1 / np.prod(shape[:-1])) if kernel else 0.2
        parameters[name] = rng.normal(0 if kernel else 0.2, spread, shape)
    return parameters


def make_autoencoders(network, seed=1):
    """Autoencoders of a network, with random parameters."""
    rng, blocks = np.random.default_rng(seed), network.module.blocks
    return {
        level: make_autoencoder(network, level, random_parameters(Decoder(blocks, level), rng))
        for level in LEVELS
    }


CONTENT, STYLE, OTHER = picture(0), picture(1, 48, 48), picture(2, 48, 32)


@pytest.fixture
def paint(autoencoders):
    """Call ``instant`` with the tiny network."""
    given = {"network": autoencoders[1].encoder, "decoders": autoencoders, "levels": LEVELS}
    return lambda *styles, content=CONTENT, **more: instant(
        content, list(styles) or STYLE, **(given | more)
    )


# Transforms, against NumPy in float64.


def rows(features):
    return np.asarray(features, np.float64).reshape(-1, np.shape(features)[-1])


@pytest.fixture
def correlated(rng):
    """Feature maps whose channels go together, far from zero."""

    def make(height, width):
        return jnp.asarray(rng.normal(0, 1, (height, width, 6)) @ rng.normal(0, 1, (6, 6)) + 3)

    return make(20, 30), make(25, 25)


def test_covariance_is_numpy_s(correlated):
    mean, found = covariance(correlated[0])
    np.testing.assert_allclose(mean, rows(correlated[0]).mean(0), rtol=1e-5)
    np.testing.assert_allclose(found, np.cov(rows(correlated[0]).T, bias=True), rtol=1e-4)


def test_whitening_gives_identity_and_colouring_the_style_s_covariance(correlated):
    content, style = correlated
    plain = style_root(style, "whiten")._replace(mean=jnp.zeros(6), root=jnp.eye(6))
    white = to_style(content, plain, "whiten")(content)
    np.testing.assert_allclose(np.cov(rows(white).T, bias=True), np.eye(6), atol=1e-3)
    np.testing.assert_allclose(rows(white).mean(0), 0, atol=1e-3)
    moved = rows(to_style(content, style_root(style, "whiten"), "whiten")(content))
    np.testing.assert_allclose(moved.mean(0), rows(style).mean(0), atol=1e-3)
    wanted = np.cov(rows(style).T, bias=True)
    np.testing.assert_allclose(np.cov(moved.T, bias=True), wanted, atol=1e-3 * wanted.max())


def test_moments_gives_every_channel_the_style_s_mean_and_deviation(correlated):
    content, style = correlated
    moved = rows(to_style(content, style_root(style, "moments"), "moments")(content))
    np.testing.assert_allclose(moved.mean(0), rows(style).mean(0), rtol=1e-3)
    np.testing.assert_allclose(moved.std(0), rows(style).std(0), rtol=1e-3)
    found, wanted = np.corrcoef(moved.T), np.corrcoef(rows(content).T)
    np.testing.assert_allclose(found, wanted, atol=1e-3)


def test_channels_that_never_vary_are_left_out(correlated):
    content = correlated[0].at[..., 0].set(7.0)
    moved = to_style(content, style_root(correlated[1], "whiten"), "whiten")(content)
    found = rows(moved)
    assert np.isfinite(found).all() and np.abs(found).max() < 100
    np.testing.assert_allclose(found.mean(0), rows(correlated[1]).mean(0), atol=1e-3)


def test_statistics_are_those_of_the_positions_that_count(correlated):
    content, _ = correlated
    weights = np.zeros(content.shape[:2], np.float32)
    weights[5:15, 7:20] = 1 / 130
    mean, found = covariance(content, weights=jnp.asarray(weights))
    inside = rows(content[5:15, 7:20])
    np.testing.assert_allclose(mean, inside.mean(0), rtol=1e-4)
    np.testing.assert_allclose(found, np.cov(inside.T, bias=True), rtol=1e-3, atol=1e-3)


# Decoders.


def test_a_decoder_mirrors_its_network():
    shapes = Decoder(VGG19_LITE, 3).shapes()
    kernels = [(name.split("/")[0], shape) for name, shape in shapes.items() if len(shape) > 1]
    assert kernels == [
        ("conv3_1", (3, 3, 128, 64)),
        ("conv2_2", (3, 3, 64, 64)),
        ("conv2_1", (3, 3, 64, 32)),
        ("conv1_2", (3, 3, 32, 32)),
        ("conv1_1", (3, 3, 32, 3)),
    ]
    assert Decoder(VGG19, 5).layers()[:4] == ("conv5_1", "conv4_4", "conv4_3", "conv4_2")
    assert Decoder(VGG19, 1).layers() == ("conv1_1",)
    assert Decoder(VGG19, 1, hidden=True).layers() == ("conv1_2", "conv1_1")


def test_a_convolution_before_the_last_can_change_nothing(autoencoders, rng):
    linear = autoencoders[1]
    own = {f"conv1_1/{part}": values for part, values in linear.params["conv1_1"].items()}
    channels = own["conv1_1/kernel"].shape[2]
    nothing = np.zeros((3, 3, channels, channels))
    nothing[1, 1] = np.eye(channels)
    more = {"conv1_2/kernel": nothing, "conv1_2/bias": np.zeros(channels)}
    hidden = make_autoencoder(linear.encoder, 1, more | own)
    assert hidden.decoder.hidden and not linear.decoder.hidden
    shallow = dataclasses.replace(linear.encoder, module=VGG(((channels,),)))
    with pytest.raises(ValueError, match="conv1_2"):
        make_autoencoder(shallow, 1, more | own)
    x = jnp.asarray(rng.uniform(0, 1, (6, 7, channels)), jnp.float32)
    found, wanted = (of.decode(of.params, x) for of in (hidden, linear))
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_a_decoder_that_ends_at_a_level_and_the_one_from_there_are_the_whole(rng):
    blocks = ((4, 4), (6, 6), (8, 8))
    whole, down, rest = Decoder(blocks, 3), Decoder(blocks, 3, end=2), Decoder(blocks, 2)
    assert down.layers() + rest.layers() == whole.layers()
    x = jnp.asarray(rng.uniform(0, 1, (5, 6, 8)), jnp.float32)
    params = params_by_layer(random_parameters(whole, rng))
    of_down, of_rest = ({name: params[name] for name in of.layers()} for of in (down, rest))
    between = down.apply({"params": of_down}, x)
    assert between.shape == (10, 12, 6)
    assert between.min() == 0  # a feature map, after its ReLU
    found = rest.apply({"params": of_rest}, between)
    np.testing.assert_allclose(found, whole.apply({"params": params}, x), atol=1e-5)


def decoded(x, parameters, names):
    """A decoder written out in float64."""
    for name in names:
        x = conv2d(x, parameters[f"{name}/kernel"], parameters[f"{name}/bias"], "edge")
        if name != "conv1_1":
            x = np.maximum(x, 0)
        if name in ("conv3_1", "conv2_1"):
            x = x.repeat(2, 0).repeat(2, 1)
    return x


def whitened_and_coloured(x, style):
    """Li et al. 2017, eqs. 2 and 3, on rows."""
    flat_x, flat_s = rows(x), rows(style)
    values, vectors = np.linalg.eigh(np.cov(flat_x.T, bias=True))
    kept = values > 1e-5 * values[-1]
    white = (flat_x - flat_x.mean(0)) @ vectors[:, kept] / np.sqrt(values[kept])
    values_s, vectors_s = np.linalg.eigh(np.cov(flat_s.T, bias=True))
    root = vectors_s @ np.diag(np.sqrt(np.maximum(values_s, 0))) @ vectors_s.T
    return (white @ vectors[:, kept].T @ root + flat_s.mean(0)).reshape(x.shape)


@pytest.mark.parametrize("alpha", [0.0, 0.7])
def test_a_whole_pass_is_what_numpy_computes(autoencoders, alpha):
    network = autoencoders[1].encoder
    content, style = picture(3, 32, 48), picture(4, 32, 32)
    parameters = flat(network.params)

    def features(image, level):
        x = encode(image, network.preprocessing)
        return vgg_features(x, parameters, "edge")[f"relu{level}_1"]

    wanted = content.astype(np.float64)
    for level in LEVELS:
        x = features(wanted, level)
        moved = whitened_and_coloured(x, features(style, level))
        blended = alpha * moved + (1 - alpha) * x
        own = flat(autoencoders[level].params)
        names = autoencoders[level].decoder.layers()
        wanted = np.clip(decoded(blended, own, names), 0, 1)
    one_pass = OnePass(autoencoders, style_images(style), Instant(alpha=alpha, levels=LEVELS))
    summaries = one_pass._mixed(one_pass.styles, [(32, 32)], guidance_of(one_pass))
    found = transfer(
        one_pass.levels,
        "whiten",
        one_pass.params,
        jnp.asarray(content),
        summaries,
        jnp.float32(alpha),
        (None,) * 3,
    )
    assert wanted.std() > 0.05
    np.testing.assert_allclose(found, wanted, atol=2e-3)


def guidance_of(one_pass):
    from jaxnst.transfer.guidance import make_guidance
    from jaxnst.transfer.style_cache import StyleImage

    return make_guidance(StyleImage(CONTENT), one_pass.styles)[1]


# Pictures.


def test_the_result_has_the_content_s_shape_and_is_the_same_twice(paint):
    found = paint(content=picture(5, 37, 61))
    assert found.shape == (37, 61, 3) and found.dtype == np.float32
    assert found.min() >= 0 and found.max() <= 1
    np.testing.assert_array_equal(paint(content=picture(5, 37, 61)), found)
    assert paint(size=32).shape == (23, 32, 3)


def test_pictures_are_files_and_pillow_s_and_of_eight_bits_too(paint, tmp_path):
    eight_bits = [np.uint8(255 * image) for image in (CONTENT, STYLE)]
    wanted = paint(np.float32(eight_bits[1]) / 255, content=np.float32(eight_bits[0]) / 255)
    file = tmp_path / "style.png"
    Image.fromarray(eight_bits[1]).save(file)
    np.testing.assert_array_equal(paint(str(file), content=Image.fromarray(eight_bits[0])), wanted)
    np.testing.assert_array_equal(paint(eight_bits[1], content=eight_bits[0]), wanted)


def test_alpha_goes_from_the_plain_reconstruction_to_the_style(paint):
    plain, half, full = (paint(alpha=alpha) for alpha in (0, 0.5, 1))
    np.testing.assert_array_equal(plain, paint(OTHER, alpha=0))
    assert np.abs(half - plain).mean() < np.abs(full - plain).mean()


def test_sixteen_bits_paint_nearly_the_same(autoencoders, paint):
    network = autoencoders[1].encoder.configure(precision="bfloat16")
    found = paint(network=network, decoders=make_autoencoders(network))
    assert 1e-4 < np.abs(found - paint()).mean() < 0.03


def test_two_equal_styles_are_one(paint):
    once = paint(STYLE)
    np.testing.assert_allclose(paint(STYLE, STYLE), once, atol=1e-4)
    np.testing.assert_allclose(paint(STYLE, OTHER, style_mix=(1, 0)), once, atol=1e-4)
    assert np.abs(paint(STYLE, OTHER) - once).max() > 0.01


def test_styles_are_mixed_by_level(paint):
    mixed = paint(STYLE, OTHER, style_mix={"": (1, 0), "relu1_1": (0, 1)})
    assert np.abs(mixed - paint(STYLE)).max() > 0.01
    only = paint(STYLE, OTHER, style_mix={"": (1, 0), "relu1_1": (0, 1)}, levels=(1,))
    np.testing.assert_allclose(only, paint(OTHER, levels=(1,)), atol=1e-4)
    with pytest.raises(ValueError, match=r"relu2_1, which is none of the style layers relu1_1"):
        paint(STYLE, OTHER, style_mix={"relu2_1": (0, 1)}, levels=(1,))


def test_a_mask_of_ones_changes_nothing(paint):
    ones = np.ones(CONTENT.shape[:2], np.float32)
    np.testing.assert_allclose(paint(masks=[ones]), paint(), atol=2e-3)


@pytest.mark.parametrize("transform", ["whiten", "moments"])
def test_regions_have_their_own_styles(paint, transform):
    left = np.zeros(CONTENT.shape[:2], np.float32)
    left[:, :28] = 1
    both = paint(STYLE, OTHER, masks=[left, 1 - left], levels=(1,), transform=transform)
    # What lies far from the border is decided by its own region alone.
    changed = paint(STYLE, picture(9), masks=[left, 1 - left], levels=(1,), transform=transform)
    np.testing.assert_allclose(both[:, :24], changed[:, :24], atol=1e-4)
    assert np.abs(both[:, 32:] - changed[:, 32:]).mean() > 0.003
    plain = paint(alpha=0, levels=(1,))
    uncovered = paint(STYLE, masks=[left], levels=(1,), transform=transform)
    np.testing.assert_allclose(uncovered[:, 32:], plain[:, 32:], atol=1e-4)


def test_what_is_transparent_stays_and_does_not_count(paint):
    opacity = np.ones((*CONTENT.shape[:2], 1), np.float32)
    opacity[:, :20] = 0
    cut = np.concatenate([CONTENT, opacity], axis=2)
    found = paint(content=cut)
    assert found.shape == (*CONTENT.shape[:2], 4)
    np.testing.assert_array_equal(found[:, :20], cut[:, :20])
    hidden = cut.copy()
    hidden[:, :10, :3] = 1 - hidden[:, :10, :3]
    np.testing.assert_allclose(paint(content=hidden)[:, 20:], found[:, 20:], atol=1e-3)


def test_a_style_counts_where_its_mask_says(paint):
    half = np.zeros(STYLE.shape[:2], np.float32)
    half[:, :24] = 1
    spoiled = STYLE.copy()
    spoiled[:, 32:] = 1 - spoiled[:, 32:]
    found = paint(STYLE, style_masks=[half], levels=(1,))
    np.testing.assert_allclose(paint(spoiled, style_masks=[half], levels=(1,)), found, atol=1e-4)
    assert np.abs(found - paint(STYLE, levels=(1,))).max() > 0.01


# Each level amplifies the rounding of those before it: below half a step of 8 bits after all.
@pytest.mark.parametrize(
    ("levels", "atol"), [((3,), 1e-5), ((2,), 1e-5), ((1,), 1e-5), (LEVELS, 0.5 / 255)]
)
def test_vmap_gives_what_images_give_one_by_one(autoencoders, levels, atol):
    one_pass = OnePass(autoencoders, style_images([STYLE, OTHER]), Instant(levels=levels))
    summaries = one_pass._mixed(one_pass.styles, [(48, 48), (48, 32)], guidance_of(one_pass))

    def run(content):
        fixed = one_pass.levels, "whiten", one_pass.params
        return transfer(*fixed, content, summaries, jnp.float32(0.6), (None,) * len(levels))

    contents = jnp.stack([picture(seed) for seed in (6, 7, 8)])
    for content, image in zip(contents, jax.vmap(run)(contents), strict=True):
        np.testing.assert_allclose(image, run(content), rtol=0, atol=atol)


def lapack_threads():
    return {found["num_threads"] for found in threadpool_info() if found["user_api"] == "blas"}


def test_lapack_has_one_thread_during_a_pass_and_as_many_as_before_afterwards():
    jnp.linalg.eigh(jnp.eye(2))  # so that SciPy's is there
    before = lapack_threads()
    with pytest.raises(ZeroDivisionError), lapack_on_one_thread():
        assert lapack_threads() == {1}
        raise ZeroDivisionError
    assert lapack_threads() == before

    def inside(_):
        with lapack_on_one_thread():
            return lapack_threads()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(inside, range(20))) == [{1}] * 20
    assert lapack_threads() == before


def test_lapack_has_one_thread_in_the_first_pass_of_a_process():
    program = """
import jax.numpy as jnp
from jaxnst.feedforward.instant import lapack_on_one_thread
from threadpoolctl import threadpool_info
with lapack_on_one_thread():
    jnp.linalg.eigh(jnp.eye(2))
    print({found["num_threads"] for found in threadpool_info()})
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "{1}\n", done.stderr


def test_numbers_compile_nothing(paint):
    paint(alpha=0.3)
    count = transfer._cache_size()
    paint(alpha=0.8)
    paint(OTHER, content=picture(11), alpha=0.5)
    assert transfer._cache_size() == count


def test_a_pass_can_be_differentiated(autoencoders):
    one_pass = OnePass(autoencoders, style_images(STYLE), Instant(levels=(2,)))
    summaries = one_pass._mixed(one_pass.styles, [(48, 48)], guidance_of(one_pass))

    def total(content, alpha):
        given = one_pass.levels, "whiten", one_pass.params, content, summaries
        return transfer(*given, alpha, (None,)).sum()

    content = jnp.asarray(CONTENT)
    gradients = jax.grad(total, argnums=(0, 1))(content, jnp.float32(0.5))
    assert all(np.isfinite(g).all() and np.abs(g).max() > 0 for g in gradients)


# What cannot be done.


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"alpha": 1.5}, "alpha is 1.5, expected a number from 0 to 1"),
        ({"alpha": float("nan")}, "alpha is nan"),
        ({"levels": ()}, r"levels is \(\), expected at least one"),
        ({"levels": (2, 2)}, "none of them twice"),
        ({"levels": (5, 1)}, "no decoder for level 5, only for 3, 2, 1"),
        ({"style_mix": (1, 2)}, "expected 1 weight, one for each style"),
        ({"size": 8}, "size is 8"),
        ({"decoders": {}}, "decoders is empty, expected an autoencoder for each level: leave"),
    ],
)
def test_what_is_out_of_range_is_refused(paint, more, words):
    with pytest.raises(ValueError, match=words):
        paint(**more)


def test_alpha_is_a_number_and_levels_are_whole_numbers():
    share("alpha", np.float32(0.5))
    for value in ("x", None):
        with pytest.raises(ValueError, match=f"alpha is {value}, expected a number from 0 to 1"):
            share("alpha", value)
    assert as_levels([3, np.int64(1)]) == (3, 1) and as_levels(range(2)) == (0, 1)
    for given in ("4,3", 4, None, (1.5,)):
        said = re.escape(f"levels is {given!r}, expected whole numbers such as (4, 3, 2, 1)")
        with pytest.raises(ValueError, match=said):
            as_levels(given)


def test_a_style_smaller_than_the_deepest_layer_needs_is_refused():
    network = load_network("vgg19-lite")
    rng, decoder = np.random.default_rng(0), Decoder(VGG19_LITE, 5)
    own = {name: rng.normal(0, 0.01, shape) for name, shape in decoder.shapes().items()}
    found = {5: make_autoencoder(network, 5, own)}
    with pytest.raises(ValueError, match="style is 40x24 but level 5 needs at least 32 pixels"):
        instant(CONTENT, picture(1, 24, 40), network=network, decoders=found, levels=(5,))


# Files.


def test_decoders_are_read_from_a_file_made_for_their_network(tmp_path, rng):
    network, path = load_network("vgg19-lite"), tmp_path / "decoders.safetensors"
    own = {n: rng.normal(size=s) for n, s in Decoder(VGG19_LITE, 2).shapes().items()}
    named = {f"level2/{name}": value.astype(np.float16) for name, value in own.items()}
    write_parameters(path, named, metadata={"decoders_of": "vgg19-lite"})
    found = load_autoencoders(network, decoders=path)
    assert list(found) == [2]
    kernel = found[2].params["conv2_1"]["kernel"]
    np.testing.assert_allclose(kernel, own["conv2_1/kernel"], rtol=1e-3, atol=1e-4)
    given = {"network": network, "levels": (2,)}
    assert np.array_equal(
        instant(CONTENT, STYLE, decoders=path, **given),
        instant(CONTENT, STYLE, decoders=found, **given),
    )
    for metadata, words in (
        ({"decoders_of": "vgg19"}, "has decoders of vgg19, expected those of vgg19-lite"),
        ({}, "has no decoders, expected those of vgg19-lite"),
    ):
        write_parameters(path, named, metadata=metadata)
        with pytest.raises(ValueError, match=words):
            load_autoencoders(network, decoders=path)
    for damage, words in (
        ({"level2/conv1_2/kernel": np.zeros((3, 3, 9, 9))}, "wrong shape"),
        ({"conv2_1/kernel": np.zeros(3)}, "has conv2_1/kernel, expected names such as level5"),
    ):
        write_parameters(path, named | damage, metadata={"decoders_of": "vgg19-lite"})
        with pytest.raises(ValueError, match=words):
            load_autoencoders(network, decoders=path)
    save_file({}, path, metadata={"format": FORMAT, "decoders_of": "vgg19-lite"})
    with pytest.raises(ValueError, match=r"decoders.safetensors holds no decoders: give another"):
        load_autoencoders(network, decoders=path)
    del named["level2/conv1_1/bias"]
    write_parameters(path, named, metadata={"decoders_of": "vgg19-lite"})
    with pytest.raises(ValueError, match="missing conv1_1/bias"):
        load_autoencoders(network, decoders=path)


def test_networks_without_decoders_are_refused(tmp_path):
    from jaxnst.networks import init_network

    with pytest.raises(ValueError, match="no decoders for vgg16 ship with jaxnst"):
        load_autoencoders(tiny_network(PREPROCESSING["caffe"], name="vgg16"))
    with pytest.raises(ValueError, match="no decoders for vgg16 ship with jaxnst"):
        load_autoencoders("vgg16")  # nor has anybody to fetch its parameters first
    for network in (init_network("squeezenet1.1"), "squeezenet1.1"):
        with pytest.raises(ValueError, match=r"squeezenet1.1 is not a VGG, and only those have "):
            load_autoencoders(network)


REAL = [("vgg19-distilled-16x", "{}SE", "{}SD", floor) for floor in ((44, 26, 24, 21, 18),)]
REAL += [("vgg-normalised", "vgg_normalised_conv{}_1", "feature_invertor_conv{}_1", (25, 29, 24))]


@pytest.mark.weights
@pytest.mark.torch
@pytest.mark.parametrize(("folder", "encoder", "decoder", "floors"), REAL)
def test_published_decoders_reconstruct_photographs(shared, folder, encoder, decoder, floors):
    pictures = [load_image(shared / f"pictures/train/{i:04d}.jpg") for i in range(0, 800, 200)]
    crops = [p[(h := p.shape[0] // 2 - 128) : h + 256] for p in pictures]
    crops = [p[:, (w := p.shape[1] // 2 - 128) : w + 256] for p in crops]
    for level, floor in enumerate(floors, 1):
        paths = (shared / f"weights/{folder}/{of.format(level)}.pth" for of in (encoder, decoder))
        found = read_autoencoder(*paths)
        assert np.mean([reconstruction_psnr(found, crop) for crop in crops]) > floor


# The decoders that ship.


def reconstruction_psnr(autoencoder, picture):
    """Signal to noise of a picture that was encoded and decoded, dB."""
    both = jax.jit(lambda of, own, x: autoencoder.decode(own, autoencoder.encode(of, x)))
    found = np.clip(both(autoencoder.encoder.params, autoencoder.params, picture), 0, 1)
    return -10 * np.log10(np.mean((found - picture) ** 2))


def test_decoders_ship_that_give_a_picture_back():
    picture = load_image(ROOT / "examples/content.jpg")[:224, :224]
    found = load_autoencoders("vgg19-lite")
    assert tuple(found) == (5, 4, 3, 2, 1)
    assert set(Instant().levels) <= set(found)
    decibels = [reconstruction_psnr(found[level], picture) for level in found]
    assert decibels == sorted(decibels)
    assert bundled("vgg19-lite-decoders.safetensors").stat().st_size <= 4e6
    for level, least in FLOORS.items():
        assert decibels[list(found).index(level)] > least
