"""NumPy archives, PyTorch state dicts, and what a network is told to expect of its input."""

import io
import pickle
import zipfile
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from helpers import conv2d
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.lib import format as npy
from safetensors.numpy import save_file
from weights_helpers import (
    assert_refused,
    assert_same,
    flip,
    fuzz,
    random_parameters,
    refused_or_read,
)

from jaxnst.networks import (
    NETWORKS,
    PREPROCESSING,
    extract_features,
    init_network,
    load_network,
    registry,
)
from jaxnst.weights import KnownFile, read_parameters, write_parameters
from jaxnst.weights.native import serialize
from jaxnst.weights.state_dict import UNSAID, convert

# Where torchvision's VGG "features" have their convolutions.
PLACES = {
    "vgg16": (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28),
    "vgg19": (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34),
}


def oihw(kernel):
    return np.ascontiguousarray(np.moveaxis(kernel, (3, 2, 0, 1), (0, 1, 2, 3)))


def entry(array=None, header=None):
    """The bytes of an .npy file, of an array or of a header alone."""
    stream = io.BytesIO()
    if header is None:
        npy.write_array(stream, array)
    else:
        npy.write_array_header_1_0(stream, header)
    return stream.getvalue()


def archive(path, **entries):
    with zipfile.ZipFile(path, "w") as file:
        for name, data in entries.items():
            file.writestr(f"{name}.npy", data)
    return path


# NumPy.


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_round_trip(tmp_path, dtype, save):
    path = tmp_path / "parameters.bin"  # the ending is not looked at
    arrays = random_parameters(dtype)
    arrays["conv1_2/kernel"] = np.asfortranarray(arrays["conv1_2/kernel"])
    with path.open("wb") as file:
        save(file, **arrays)
    found, metadata = read_parameters(path)
    assert_same(found, arrays)
    assert metadata == {"format": "npz"} and found["conv1_1/kernel"].flags.writeable


class Trap:
    """What a pickle makes on reading: here, a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_an_npz_with_a_pickle_runs_nothing(tmp_path):
    path, trap = tmp_path / "x.npz", tmp_path / "sprung"
    np.savez(path, **{"conv1_1/kernel": np.array([Trap(trap)], object)})
    assert_refused(path, "expected floating point numbers")
    assert not trap.exists()
    np.load(path, allow_pickle=True)["conv1_1/kernel"]
    assert trap.exists()  # it was a real one


@pytest.mark.parametrize(
    ("data", "pattern"),
    [
        (entry(np.arange(3)), "stores x as int64, expected floating point"),
        (
            entry(header={"descr": "<f4", "fortran_order": False, "shape": (10**9, 10**9)}),
            "cut short or damaged",
        ),
        (entry(np.ones(3, "f4"))[:-1], "cut short or damaged"),
        (entry(np.ones(3, "f4"))[:-4], "cut short or damaged"),
        (b"no array", "cut short or damaged"),
    ],
)
def test_a_bad_entry_is_refused(tmp_path, data, pattern):
    assert_refused(archive(tmp_path / "x.npz", x=data), pattern)


def test_an_npz_that_unpacks_to_too_much_is_not_read(tmp_path, monkeypatch):
    path = tmp_path / "x.npz"
    np.savez_compressed(path, x=np.zeros(10**6, np.float32))
    monkeypatch.setattr("jaxnst.weights._files.MAX_BYTES", 10**6)
    assert_refused(path, r"unpacks to \d+ bytes, expected at most 1000000: give")


def test_another_archive_says_what_it_is(tmp_path):
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("config.json", "{}")
    assert_refused(path, r"ZIP archive of config.json.*\.weights\.h5")


@given(st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 7)), min_size=1, max_size=4))
@example([(0.999, 0)])  # an offset before the file's start
@fuzz
def test_no_flipped_bits_of_an_npz_raise_anything_else(tmp_path, flips):
    path = tmp_path / "x.npz"
    np.savez(path, **random_parameters())
    refused_or_read(path, flip(path.read_bytes(), flips))


@given(st.floats(0, 1, exclude_max=True))
@fuzz
def test_no_truncation_of_an_npz_raises_anything_else(tmp_path, share):
    path = tmp_path / "x.npz"
    np.savez(path, **random_parameters())
    data = path.read_bytes()
    refused_or_read(path, data[: max(1, int(share * len(data)))])


# State dicts: names and layout.


def as_torch(parameters, rename):
    """Our parameters under others' names, in PyTorch's layout."""
    return {
        rename(*key.split("/")): oihw(value) if value.ndim == 4 else value
        for key, value in parameters.items()
    }


def flat(network):
    return {
        f"{layer}/{part}": np.asarray(value)
        for layer, parts in network.params.items()
        for part, value in parts.items()
    }


def small(name, seed=0):
    """Parameters by the names of a network's, with one value each in place of every side."""
    rng = np.random.default_rng(seed)
    shapes = NETWORKS[name].module.shapes()
    return {
        key: rng.normal(size=tuple(min(2 + i, n) for i, n in enumerate(shape))).astype(np.float32)
        for key, shape in shapes.items()
    }


def sequential(network):
    layers = list(dict.fromkeys(key.split("/")[0] for key in small(network)))
    places = dict(zip(layers, PLACES[network], strict=True))
    parts = {"kernel": "weight", "bias": "bias"}
    return lambda layer, part: f"features.{places[layer]}.{parts[part]}"


@pytest.mark.parametrize("network", PLACES)
def test_vgg_by_the_places_of_its_convolutions(network):
    parameters = small(network)
    tensors = as_torch(parameters, sequential(network))
    tensors["classifier.0.weight"] = np.ones((2, 2), np.float32)
    found, said = convert(tensors)
    assert_same(found, parameters)
    assert said == {"preprocessing": UNSAID}


@pytest.mark.parametrize("network", PLACES)
@pytest.mark.parametrize("count", [1, 5, 7, 8])
def test_a_vgg_that_ends_early_is_named_as_far_as_it_goes(network, count):
    parameters = dict(list(small(network).items())[: 2 * count])
    found, _ = convert(as_torch(parameters, sequential(network)))
    assert_same(found, parameters)


def test_gatys_names_are_ours_but_for_the_parts():
    parameters = small("vgg19")
    parts = {"kernel": "weight", "bias": "bias"}
    found, said = convert(as_torch(parameters, lambda layer, part: f"{layer}.{parts[part]}"))
    assert_same(found, parameters)
    assert said == {"preprocessing": "caffe"}


def torchvision_densenet(layer, part, dot=""):
    """torchvision's name of a DenseNet's parameter; ``dot``: as its official files spell it."""
    part = {"kernel": "weight", "gamma": "weight", "beta": "bias"}.get(part, part)
    part = {"mean": "running_mean", "variance": "running_var"}.get(part, part)
    ends = {"conv1_conv": "conv0", "conv1_bn": "norm0", "bn": "norm5"}
    if layer in ends:
        return f"features.{ends[layer]}.{part}"
    if layer.startswith("pool"):
        kind = "norm" if layer.endswith("bn") else "conv"
        return f"features.transition{int(layer[4]) - 1}.{kind}.{part}"
    block, dense, place, kind = layer.removeprefix("conv").split("_")
    kind = f"norm{dot}{int(place) + 1}" if kind == "bn" else f"conv{dot}{place}"
    number = dense.removeprefix("block")
    return f"features.denseblock{int(block) - 1}.denselayer{number}.{kind}.{part}"


@pytest.mark.parametrize("dot", ["", "."])
@pytest.mark.parametrize("network", ["densenet121", "densenet169", "densenet201"])
def test_densenet_in_both_spellings(network, dot):
    parameters = small(network)
    tensors = as_torch(parameters, lambda layer, part: torchvision_densenet(layer, part, dot))
    assert f"features.denseblock1.denselayer2.norm{dot}2.running_var" in tensors
    tensors["features.norm0.num_batches_tracked"] = np.ones((), np.float32)
    tensors["classifier.weight"] = np.ones((2, 2), np.float32)
    found, said = convert(tensors)
    assert_same(dict(sorted(found.items())), dict(sorted(parameters.items())))
    assert said == {"preprocessing": "imagenet", "epsilon": "1e-05"}


def test_the_normalised_vgg_drops_its_first_module_if_it_is_the_known_one():
    parameters = dict(list(small("vgg19").items())[:8])
    places = dict(zip(("conv1_1", "conv1_2", "conv2_1", "conv2_2"), (2, 5, 9, 12), strict=True))
    parts = {"kernel": "weight", "bias": "bias"}
    tensors = as_torch(parameters, lambda layer, part: f"{places[layer]}.{parts[part]}")
    mixing = 255 * np.eye(3, dtype=np.float32)[::-1, :, None, None]
    mean = np.array([-103.939, -116.779, -123.68], np.float32)
    found, said = convert({"0.weight": mixing, "0.bias": mean, **tensors})
    assert_same(found, parameters)
    assert said == {"preprocessing": "caffe", "unit_means": "true"}
    found, said = convert({"0.weight": mixing[::-1], "0.bias": mean, **tensors})
    assert "0/kernel" in found and said == {}  # a check against the network will list it


def wrapped_by(how, name):
    first, rest = name.split(".", 1)
    return {
        "DataParallel": f"module.{name}",
        "DataParallel of one part": f"{first}.module.{rest}",
        "torch.compile": f"_orig_mod.{name}",
        "both": f"module._orig_mod.{name}",
        "compiled layers": ".".join([*name.split(".")[:-1], "_orig_mod", name.rsplit(".", 1)[1]]),
        "Lightning": f"model.{name}",
        "Lightning's own attribute": f"_forward_module.net.vgg.{name}",
        "FSDP": f"_fsdp_wrapped_module.{first}._checkpoint_wrapped_module.{rest}",
    }[how]


@pytest.mark.parametrize(
    "how",
    [
        "DataParallel",
        "DataParallel of one part",
        "torch.compile",
        "both",
        "compiled layers",
        "Lightning",
        "Lightning's own attribute",
        "FSDP",
    ],
)
def test_what_wrappers_add_to_names_is_left_out(how, rng):
    parts = {"kernel": "weight", "bias": "bias"}
    by_name = as_torch(small("vgg19"), lambda layer, part: f"{layer}.{parts[part]}")
    by_place = as_torch(small("vgg16"), sequential("vgg16"))
    densenet = as_torch(small("densenet121"), torchvision_densenet)
    decoder = {f"{i}.weight": rng.normal(size=(3, 3, 3, 3)).astype(np.float32) for i in (1, 5)}
    transformer = {
        f"{name}.{part}": rng.normal(size=4).astype(np.float32)
        for name in ("conv1.conv2d", "in1", "res1.conv1.conv2d", "res1.in1", "deconv1.conv2d")
        for part in ("weight", "bias")
    }
    with_classifier = {**by_place, "classifier.0.weight": np.ones((2, 2), np.float32)}
    for tensors in (by_name, by_place, with_classifier, densenet, decoder, transformer):
        wrapped = {wrapped_by(how, name): value for name, value in tensors.items()}
        (found, said), (expected, expected_said) = convert(wrapped), convert(tensors)
        assert_same(found, expected)
        assert said == expected_said


def test_names_that_would_become_one_are_left_as_they_are():
    one = np.ones((3, 3, 3, 3), np.float32)
    found, _ = convert({"conv1_1.weight": one, "module.conv1_1.weight": 2 * one})
    assert list(found) == ["conv1_1/kernel", "module.conv1_1/kernel"]


def test_counters_in_a_state_dict_of_safetensors_are_left_out(tmp_path):
    """As instance and batch normalization and averaged models have them."""
    tensors = {f"module.conv1_1.{part}": np.ones((2, 3, 3, 3), np.float32) for part in ("weight",)}
    counters = {"n_averaged": np.ones((), np.int64), "norm.num_batches_tracked": np.ones(1, int)}
    save_file({**tensors, **counters}, tmp_path / "x.safetensors")
    assert list(read_parameters(tmp_path / "x.safetensors")[0]) == ["conv1_1/kernel"]


def test_a_wrapped_state_dict_is_converted_from_the_command_line(tmp_path, call):
    parameters = random_parameters()
    parts = {"kernel": "weight", "bias": "bias"}
    tensors = as_torch(parameters, lambda layer, part: f"module.{layer}.{parts[part]}")
    save_file(tensors, tmp_path / "wrapped.safetensors")
    out = tmp_path / "own.safetensors"
    status, _, err = call(
        "weights", "convert", str(tmp_path / "wrapped.safetensors"), "-o", str(out)
    )
    assert status == 0, err
    assert_same(dict(sorted(read_parameters(out)[0].items())), dict(sorted(parameters.items())))


def test_unknown_names_are_kept_to_be_listed(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({"encoder.0.weight": np.ones((2, 3, 3, 3), np.float32)}, path)
    with pytest.raises(ValueError, match=r"missing conv1_1/kernel.*unexpected encoder\.0/kernel"):
        load_network("vgg19", weights=path)


# What the input is.


@pytest.fixture(scope="module")
def state_dict(tmp_path_factory):
    """A VGG19 to conv2_1 with random parameters, as torchvision and jcjohnson name it."""
    network = init_network("vgg19")
    parameters = {k: v for k, v in flat(network).items() if k < "conv2_2"}
    path = tmp_path_factory.mktemp("weights") / "vgg.safetensors"
    save_file(as_torch(parameters, sequential("vgg19")), path)
    return network, path


def test_a_file_that_does_not_say_what_it_expects_is_refused(state_dict):
    with pytest.raises(ValueError, match=r"give --preprocessing caffe .*or torchvision"):
        load_network("vgg19", weights=state_dict[1])


@pytest.mark.parametrize("preprocessing", ["caffe", "torchvision", "imagenet"])
def test_the_preprocessing_may_be_given(state_dict, preprocessing):
    network, path = state_dict
    found = load_network("vgg19", weights=path, preprocessing=preprocessing)
    assert found.preprocessing == PREPROCESSING[preprocessing]
    assert found.layers[-1] == "relu2_1"
    image = jnp.full((8, 8, 3), 0.4)
    if preprocessing == "caffe":
        for name in ("relu1_2", "relu2_1"):
            expected = extract_features(network, image, [name])[name]
            np.testing.assert_array_equal(extract_features(found, image, [name])[name], expected)


def test_an_unknown_preprocessing_is_refused_with_the_nearest(state_dict):
    with pytest.raises(ValueError, match="did you mean 'torchvision'"):
        load_network("vgg19", weights=state_dict[1], preprocessing="torchvison")


def test_a_known_file_needs_no_word(state_dict, monkeypatch):
    known = KnownFile(
        name="x", network="vgg19", format="torch", origin="", license="", preprocessing="imagenet"
    )
    monkeypatch.setattr(registry, "find_known", lambda path: known)
    network = load_network("vgg19", weights=state_dict[1])
    assert network.preprocessing == PREPROCESSING["torchvision"]


@pytest.mark.parametrize(
    ("text", "epsilon"), [("1e-05", 1e-5), (None, 1.001e-5), ("0", None), ("large", None)]
)
def test_epsilon_travels_with_the_parameters_of_a_densenet(tmp_path, text, epsilon):
    path = tmp_path / "x.safetensors"
    first = {k: v for k, v in flat(init_network("densenet121")).items() if k.startswith("conv1_")}
    write_parameters(path, first, metadata={} if text is None else {"epsilon": text})
    if epsilon is None:
        with pytest.raises(ValueError, match="epsilon"):
            load_network("densenet121", weights=path)
        return
    network = load_network("densenet121", weights=path)
    assert network.module.epsilon == epsilon and network.layers[-1] == "pool1"


# Real files, and PyTorch's own reader.


@pytest.mark.weights
def test_the_genuine_vgg19_reads(shared):
    path = shared / "weights/vgg19-conv1-3/vgg19_caffe_bgr_conv1_1-conv3_4_HWIO.npz"
    network = load_network("vgg19", weights=path)
    assert network.layers[-1] == "pool3" and network.preprocessing == PREPROCESSING["caffe"]
    with pytest.raises(KeyError, match="relu4_1"):
        network.resolve("relu4_1")


@pytest.mark.torch
@pytest.mark.weights
def test_the_normalised_vgg_is_the_genuine_one_up_to_a_factor_per_channel(shared):
    pytest.importorskip("torch", reason="PyTorch is not installed")
    folder = shared / "weights"
    genuine = load_network(
        "vgg19", weights=folder / "vgg19-conv1-3/vgg19_caffe_bgr_conv1_1-conv3_4_HWIO.npz"
    ).configure(padding="reflect")
    normalised = load_network(
        "vgg19", weights=folder / "vgg-normalised/vgg_normalised_conv3_1.pth"
    ).configure(padding="reflect")
    image = jnp.asarray(np.random.default_rng(0).uniform(size=(45, 52, 3)), jnp.float32)
    names = ("relu1_1", "relu2_1", "relu3_1")
    one, other = (extract_features(n, image, names) for n in (genuine, normalised))
    for name in names:
        a, b = (np.asarray(f[name], np.float64) for f in (one, other))
        factor = (a * b).sum((0, 1)) / np.maximum((a * a).sum((0, 1)), 1e-12)
        assert np.abs(b - a * factor).max() < 1e-4 * np.abs(b).max()


@pytest.mark.torch
@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("wrap", [None, "model", "state_dict", "model_state_dict", "generator"])
def test_a_file_that_pytorch_wrote(torch, tmp_path, legacy, wrap):
    parameters = small("vgg16")
    tensors = as_torch(parameters, sequential("vgg16"))
    state = {key: torch.from_numpy(value) for key, value in tensors.items()}
    path = tmp_path / "x.pth"
    found = {wrap: state, "epoch": 3} if wrap else state
    torch.save(found, path, _use_new_zipfile_serialization=not legacy)
    read, metadata = read_parameters(path)
    assert_same(read, parameters)
    assert metadata == {"format": "torch", "preprocessing": UNSAID}


@pytest.mark.torch
def test_a_pth_that_would_run_code_runs_nothing(torch, tmp_path):
    trap = tmp_path / "sprung"
    for legacy in (False, True):
        path = tmp_path / f"{legacy}.pth"
        torch.save({"x": Trap(trap)}, path, _use_new_zipfile_serialization=not legacy)
        assert_refused(path, "holds more than plain tensors")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Trap(trap), protocol=2))
    assert_refused(tmp_path / "plain.pth", "holds more than plain tensors")
    assert not trap.exists()


@pytest.mark.torch
def test_checkpoints_are_followed_to_the_state_dict_of_the_network(torch, tmp_path):
    state = {"net.conv1_1.weight": torch.ones(2, 3, 3, 3)}
    moments = {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 0.1}]}
    own = {"loop": torch.ones(3)}
    loop = {"loop": None}
    loop["state_dict"] = loop
    for found in (
        {"state_dict": state, "optimizer_states": [moments], "epoch": 3},
        {"model_state_dict": state, "optimizer_state_dict": moments, "ema": state},
        {"generator": state, "optimizer": moments},
        {"checkpoint": {"model": {"module": state}}},
        {"state_dict": state, **own},
    ):
        torch.save(found, tmp_path / "x.pth")
        assert list(read_parameters(tmp_path / "x.pth")[0]) == ["conv1_1/kernel"]
    torch.save({"generator": state, "critic": state}, tmp_path / "x.pth")
    assert_refused(tmp_path / "x.pth", r"several state dicts \(generator, critic\)")
    torch.save(loop, tmp_path / "x.pth")
    assert_refused(tmp_path / "x.pth", "no tensors")


@pytest.mark.torch
@pytest.mark.parametrize(("value", "pattern"), [([1, 2], "list"), ({"epoch": 3}, "no tensors")])
def test_a_pth_without_a_state_dict(torch, tmp_path, value, pattern):
    torch.save(value, tmp_path / "x.pth")
    assert_refused(tmp_path / "x.pth", pattern)


@pytest.mark.torch
@pytest.mark.parametrize("share", [0.05, 0.5, 0.99])
@pytest.mark.parametrize("legacy", [False, True])
def test_a_pth_that_is_cut_short(torch, tmp_path, legacy, share):
    path = tmp_path / "x.pth"
    state = {"conv1_1.weight": torch.ones(64, 3, 3, 3), "conv1_1.bias": torch.ones(64)}
    torch.save(state, path, _use_new_zipfile_serialization=not legacy)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    assert_refused(path, "cut short or damaged")


def test_without_pytorch_a_pth_says_what_to_do(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "x.pth").write_bytes(b"\x80\x02\x8a\nl\xfc\x9c")
    assert_refused(tmp_path / "x.pth", r"pip install 'jaxnst\[torch\]'")


def test_a_safetensors_file_may_begin_as_a_pickle_does(tmp_path):
    path = tmp_path / "a.safetensors"
    params = {"conv1_1/bias": np.ones(3, np.float32)}
    files = (serialize(params, {"note": "x" * length}) for length in range(1, 600))
    path.write_bytes(next(data for data in files if data[:2] == b"\x80\x02"))
    assert path.read_bytes()[:2] == b"\x80\x02"
    np.testing.assert_array_equal(read_parameters(path)[0]["conv1_1/bias"], params["conv1_1/bias"])


def test_decoders_of_the_normalised_vgg_are_named_from_their_end():
    kernels = {1: (8, 16), 5: (8, 8), 8: (4, 8), 12: (4, 4), 15: (3, 4)}
    tensors = {f"{i}.weight": np.zeros((*shape, 3, 3), np.float32) for i, shape in kernels.items()}
    names = [f"{name}/kernel" for name in ("conv3_1", "conv2_2", "conv2_1", "conv1_2", "conv1_1")]
    found, _ = convert(tensors)
    assert list(found) == names
    assert [found[name].shape[2:] for name in names] == [s[::-1] for s in kernels.values()]


def test_the_first_module_of_a_distilled_encoder_is_folded_into_the_second(rng):
    mixing, offset = rng.normal(size=(3, 3, 1, 1)), rng.normal(size=3)
    kernel, bias = rng.normal(size=(4, 3, 3, 3)), rng.normal(size=4)
    tensors = {"conv0.weight": mixing, "conv0.bias": offset}
    tensors |= {"conv11.weight": kernel, "conv11.bias": bias}
    tensors |= {"conv11_aux.weight": np.ones((6, 4, 1, 1)), "conv11_aux.bias": np.ones(6)}
    own = {name: value.astype(np.float32) for name, value in tensors.items()}
    found, said = convert(own)
    assert said == {"preprocessing": "identity"}
    image = rng.normal(size=(5, 6, 3))
    mixed = image @ mixing[:, :, 0, 0].T + offset
    wanted = conv2d(mixed, kernel.transpose(2, 3, 1, 0), bias, "reflect")
    got = conv2d(image, found["conv1_1/kernel"], found["conv1_1/bias"], "reflect")
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)
    assert set(found) == {"conv1_1/kernel", "conv1_1/bias"}
