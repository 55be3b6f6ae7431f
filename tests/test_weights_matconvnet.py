"""MatConvNet's files, whole, foreign, oversized and damaged."""

import json
import os
import re
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from weights_helpers import (
    assert_refused,
    assert_same,
    flip_bits,
    random_parameters,
    refused_or_read,
)

from jaxnst.networks import load_network
from jaxnst.weights import _child, matconvnet, read_parameters
from jaxnst.weights._files import Refused

GENERATIONS = pytest.mark.parametrize("old", [False, True], ids=["new", "old"])


def cell(values):
    found = np.empty((1, len(values)), object)
    found[0, :] = values
    return found


def network(parameters, *, old=False):
    """The variables of a file, with what stands around convolutions in the real ones."""
    layers, names = [], list(dict.fromkeys(key.split("/")[0] for key in parameters))
    top = {"fc6/kernel": np.ones((2, 2, 5, 6), np.float32), "fc6/bias": np.ones(6, np.float32)}
    values = {**parameters, **top}
    for name in (*names, "fc6"):
        kernel, bias = values[f"{name}/kernel"], values[f"{name}/bias"][None]
        kernel = kernel[..., 0] if kernel.shape[-1] == 1 else kernel  # as MATLAB does
        weights = {"filters": kernel, "biases": bias} if old else {"weights": cell([kernel, bias])}
        layers.append({"name": name, "type": "conv", "stride": 1.0, "pad": 1.0, **weights})
        layers.append({"name": f"relu{name[4:]}", "type": "relu"})
    about = {"normalization": {"averageImage": np.full((2, 2, 3), 120.0)}}
    return {"layers": cell(layers), **(about if old else {"meta": about})}


def write(path, content, **words):
    scipy.io.savemat(path, content, **words)
    return path


def python(*arguments):
    """Run a program with the libraries of this process."""
    return subprocess.run(
        [sys.executable, "-P", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    ).stdout


@pytest.mark.parametrize("compress", [False, True])
@GENERATIONS
def test_both_generations(tmp_path, old, compress):
    parameters = random_parameters()
    parameters["conv9_9/kernel"] = np.ones((3, 3, 4, 1), np.float32)
    parameters["conv9_9/bias"] = np.ones(1, np.float32)
    content = network(parameters, old=old)
    path = write(tmp_path / "vgg.bin", content, do_compression=compress)
    found, metadata = read_parameters(path)
    assert_same(found, parameters)  # the first index is the row, as ours is
    assert metadata == {"format": "matconvnet", "preprocessing": "matconvnet"}
    assert found["conv1_1/kernel"].flags.writeable


def test_a_network_in_one_variable_and_in_float64(tmp_path):
    parameters = random_parameters(np.float64)
    path = write(tmp_path / "vgg.mat", {"net": network(parameters), "x": 1.0})
    assert_same(read_parameters(path)[0], parameters)


def test_a_convolution_without_bias(tmp_path):
    kernel = np.ones((3, 3, 3, 4), np.float32)
    layer = {"name": "conv1_1", "type": "conv", "weights": cell([kernel, np.zeros((0, 0))])}
    path = write(tmp_path / "x.mat", {"layers": cell([layer])})
    assert_same(read_parameters(path)[0], {"conv1_1/kernel": kernel})


def test_a_vgg_expects_rgb_without_the_mean(tmp_path):
    first = {"conv1_1/kernel": np.ones((3, 3, 3, 64), np.float32)}
    first["conv1_1/bias"] = np.zeros(64, np.float32)
    found = load_network("vgg19", weights=write(tmp_path / "vgg.mat", network(first)))
    space = found.preprocessing
    assert (space.order, space.scale, space.mean) == ("rgb", 255.0, (123.68, 116.779, 103.939))


def element(kind, data, size=None):
    return np.array([kind, len(data) if size is None else size], "<u4").tobytes() + data


def test_small_integers_are_read_as_the_floating_point_numbers_that_they_stand_for(tmp_path):
    kernel = np.arange(9.0).reshape(3, 3)
    layer = {"name": "c", "type": "conv", "filters": kernel, "biases": np.zeros((1, 1))}
    path = write(tmp_path / "x.mat", {"layers": cell([layer])})
    plain = element(9, kernel.T.tobytes())
    packed = element(2, kernel.T.astype(np.uint8).tobytes()) + bytes(7)  # as MATLAB itself writes
    assert plain in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(plain, packed))
    found, _ = read_parameters(path)
    np.testing.assert_array_equal(found["c/kernel"][:, :, 0, 0], kernel)


# Files that are no MatConvNet network. Without the process, as nothing in them is damaged.


def refuse(path, pattern):
    with pytest.raises(Refused, match=pattern) as raised:
        matconvnet.read(str(path))
    assert re.search(
        ": give a (file of a MatConvNet|file that holds one loss|loss)", str(raised.value)
    )


def layers(**changes):
    whole = {"type": "conv", "name": "c", "filters": np.ones((3, 3)), "biases": 1.0}
    return {"layers": cell([{**whole, **changes}])}


@pytest.mark.parametrize(
    ("content", "pattern"),
    [
        ({"x": np.ones(3)}, "no list of layers"),
        ({"net": "text"}, "no list of layers"),
        ({"layers": np.ones(3)}, "no list of layers"),
        ({"layers": cell([1.0, "text"])}, "no list of layers"),
        ({"layers": np.empty((1, 0), object)}, "no convolutions"),
        (layers(type="relu"), "no convolutions"),
        (layers(filters="text"), "no floating point .* in layer 'c'"),
        (layers(filters=np.ones((3, 3), np.int8)), "no floating point"),
        (layers(filters=scipy.sparse.eye(3)), "no floating point"),
        (layers(filters=np.ones((3, 3, 3, 3, 3))), "of up to 4 axes"),
        (layers(biases=cell([1.0])), "no floating point"),
        (layers(weights=np.ones((0, 0))), "no floating point"),
        ({"layers": cell(2 * [layers()["layers"][0, 0]])}, "two layers 'c'"),
    ],
)
def test_another_matlab_file_is_refused(tmp_path, content, pattern):
    refuse(write(tmp_path / "x.mat", content), pattern)


# Where an uncompressed file says of which class its first variable is.
CLASS = 144


@pytest.mark.parametrize(
    ("kind", "pattern"),
    [(3, "damaged"), (16, "no list of layers"), (200, "damaged")],
    ids=["object", "function", "unknown"],
)
@pytest.mark.filterwarnings("ignore")
def test_layers_that_are_an_object_or_a_function_are_refused(tmp_path, kind, pattern):
    path = write(tmp_path / "x.mat", layers())
    data = bytearray(path.read_bytes())
    assert data[CLASS] == 1  # a cell
    data[CLASS] = kind
    path.write_bytes(data)
    assert_refused(path, pattern)


def test_layers_of_one_of_matlab_s_own_classes_are_refused(tmp_path):
    """A string or a table: class 17, three names in place of sizes and a name, then a matrix."""
    whole = write(tmp_path / "x.mat", {"x": 1.0}).read_bytes()
    header, value = whole[:128], whole[128:]
    names = [
        element(1, text.ljust(8, b"\0"), len(text)) for text in (b"layers", b"MCOS", b"string")
    ]
    flags = element(6, np.array([17, 0], "<u4").tobytes())
    (tmp_path / "x.mat").write_bytes(header + element(14, flags + b"".join(names) + value))
    refuse(tmp_path / "x.mat", "no list of layers")


def test_an_object_in_place_of_filters_is_refused(tmp_path):
    thing = scipy.io.matlab.MatlabObject(np.zeros((1, 1), [("a", "O")]), "gpuArray")
    assert_refused(write(tmp_path / "x.mat", layers(filters=thing)), "no floating point")


def test_matlab_7_3_is_refused_with_advice(tmp_path):
    (tmp_path / "x.mat").write_bytes(b"MATLAB 7.3 MAT-file, Platform: GLNXA64" + bytes(600))
    assert_refused(tmp_path / "x.mat", "save it with -v7")


# Sizes.


def test_a_file_that_unpacks_to_too_much_is_not_read(tmp_path):
    header = write(tmp_path / "x.mat", layers()).read_bytes()[:128]
    huge = element(14, b"", size=2**31)
    for content in (huge, element(15, zlib.compress(huge))):
        (tmp_path / "x.mat").write_bytes(header + content)
        refuse(tmp_path / "x.mat", r"unpacks to \d{10} bytes, expected at most")


READ = """
import resource, sys
from jaxnst.weights import read_parameters
try:
    read_parameters(sys.argv[1])
except ValueError as error:
    print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited and told on Linux")
@pytest.mark.parametrize("compress", [False, True])
def test_an_array_of_a_huge_declared_size_takes_no_memory(tmp_path, compress):
    kernel = np.arange(1000, dtype=np.float32).reshape(10, 100)
    data = write(tmp_path / "x.mat", layers(filters=kernel)).read_bytes()
    place = data.index(kernel.T.tobytes())
    data = data[: place - 4] + (2**31 - 8).to_bytes(4, "little") + data[place:]
    if compress:
        data = data[:128] + element(15, zlib.compress(data[128:] + bytes(2**24)))
    (tmp_path / "x.mat").write_bytes(data)
    kilobytes, _, error = python("-c", READ, tmp_path / "x.mat").partition(" ")
    assert "cut short or damaged" in error
    assert int(kilobytes) < 2**19


def test_more_values_than_any_network_has(tmp_path, monkeypatch):
    monkeypatch.setattr("jaxnst.weights._files.MAX_VALUES", 9)
    refuse(write(tmp_path / "x.mat", layers()), "has 10 values, expected at most 9")


# Damage. SciPy's reader does crash on two files in a hundred, and hangs on one in a thousand: what
# makes an error of that is the process, here a fork. Those are then read again as users read them.
# Whether it crashes on the same file again depends on what lies in memory beside the values that it
# reads, so only the rule is stated here; test_weights_process has the message for each ending.


def damage(rng, data, form):
    if form == "cut":
        return data[: rng.integers(10, len(data))]
    if form == "flipped":
        return flip_bits(rng, data)
    return data[:128] + element(15, zlib.compress(flip_bits(rng, data[128:])))


def read_in_forks(paths):
    """Return what each fork answered."""
    ends = json.loads(
        python(Path(__file__).with_name("fuzz_process.py"), "matconvnet", "2", *paths)
    )
    return {
        str(path): subprocess.CompletedProcess([], -end, Path(f"{path}.answer").read_bytes())
        for path, end in zip(paths, ends, strict=True)
    }


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks on this system")
@GENERATIONS
def test_no_damage_raises_anything_else(tmp_path, monkeypatch, old):
    content, rng, paths = network(random_parameters(), old=old), np.random.default_rng(0), []
    for compress, form in [(0, "cut"), (0, "flipped"), (0, "packed"), (1, "cut"), (1, "flipped")]:
        data = write(tmp_path / "x.mat", content, do_compression=bool(compress)).read_bytes()
        for i in range(50):
            paths.append(tmp_path / f"{compress}{form}{i}.mat")
            paths[-1].write_bytes(damage(rng, data, form))
    done = read_in_forks(paths)
    failed = [path for path in paths if done[str(path)].returncode]
    assert all(done[str(path)].returncode < 0 for path in failed)  # by signals alone
    assert len(failed) < len(paths) / 5
    with monkeypatch.context() as patch:
        patch.setattr(_child, "_run", lambda reader, path: done[path])
        for path in paths:
            refused_or_read(path, path.read_bytes())
    monkeypatch.setattr(_child, "SECONDS", 2)
    for path in failed[:3]:
        refused_or_read(path, path.read_bytes())
