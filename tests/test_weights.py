import errno
import json
import os
import re
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from weights_helpers import (
    SHAPES,
    assert_refused,
    assert_same,
    flip,
    flips,
    fuzz,
    random_parameters,
    refused_or_read,
)

from jaxnst import weights
from jaxnst.weights import check_parameters, read_parameters, write_parameters

# The native format.


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ml_dtypes.bfloat16])
def test_native_round_trip_keeps_every_value(tmp_path, dtype):
    params = random_parameters(dtype)
    write_parameters(tmp_path / "a.safetensors", params, metadata={"network": "small"})
    found, metadata = read_parameters(tmp_path / "a.safetensors")
    assert_same(found, params)
    assert metadata == {"format": "jaxnst-1", "network": "small"}


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_native_file_is_what_the_safetensors_library_reads_and_writes(tmp_path, dtype):
    params = random_parameters(dtype)
    write_parameters(tmp_path / "a.safetensors", params, metadata={"é": "\n"})
    theirs = safetensors.numpy.load_file(tmp_path / "a.safetensors")
    assert theirs["conv1_1/kernel"].dtype == dtype
    assert_same({name: theirs[name].astype(np.float32) for name in params}, params)
    safetensors.numpy.save_file(params, tmp_path / "b.safetensors")
    found, metadata = read_parameters(tmp_path / "b.safetensors")
    assert_same({name: found[name] for name in params}, params)
    assert metadata == {}


def test_memory_layout_and_byte_order_do_not_reach_the_file(tmp_path):
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    odd = {"a": values.transpose(2, 0, 1), "b": values[:, ::2], "c": values.astype(">f4")}
    write_parameters(tmp_path / "a.safetensors", odd)
    assert_same(read_parameters(tmp_path / "a.safetensors")[0], odd)


def test_the_same_parameters_give_the_same_bytes(tmp_path):
    words = {key: key for key in "abcdefgh"}
    write_parameters(tmp_path / "a", random_parameters(), metadata=words)
    write_parameters(tmp_path / "b", random_parameters(), metadata=dict(reversed(words.items())))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"old")

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_parameters(path, random_parameters())
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.safetensors"]


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_a_written_file_has_the_permissions_of_any_other(tmp_path):
    write_parameters(tmp_path / "a.safetensors", random_parameters())
    (tmp_path / "plain").touch()
    assert (tmp_path / "a.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize(
    ("params", "kind", "pattern"),
    [
        ({}, ValueError, "no parameters"),
        ({"a/kernel": np.array([1, np.nan], np.float32)}, ValueError, "a/kernel .* not finite"),
        ({"a/kernel": np.array([1, 2])}, TypeError, "a/kernel is int64"),
    ],
)
def test_writing_refuses_what_could_not_be_used(tmp_path, params, kind, pattern):
    with pytest.raises(kind, match=pattern):
        write_parameters(tmp_path / "a.safetensors", params)
    assert os.listdir(tmp_path) == []


def test_writing_into_a_missing_folder_names_the_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path / "no"))):
        write_parameters(tmp_path / "no" / "a.safetensors", random_parameters())


def native_bytes(header, values=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + values


def tensor(dtype="F32", shape=(2,), end=8):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [0, end]}


@pytest.mark.parametrize(
    ("data", "pattern"),
    [
        (b"", "is empty"),
        (b"hello", "cut short or damaged"),
        (b"\xff" * 100, "cut short or damaged"),
        (native_bytes({"a": tensor()}, bytes(7)), "cut short or damaged"),
        (native_bytes({"a": tensor()}, bytes(9)), "cut short or damaged"),
        (native_bytes(b'{"a": '), "cut short or damaged"),
        (native_bytes(b'{"a\n\x1b[31m": 1}'), "cut short or damaged"),
        ((2**40).to_bytes(8, "little") + b"{}", "cut short or damaged"),
        (native_bytes({"a": tensor(shape=(0, 2**62, 2**62), end=0)}), "cut short or damaged"),
        (native_bytes({"a\n\x1b[31m": tensor("I32")}, bytes(8)), "a \\[31m as I32"),
        (
            native_bytes({"a": tensor(), "__metadata__": {"format": "jaxnst-2"}}, bytes(8)),
            "install the newest",
        ),
        (b"PK\x03\x04" + bytes(99), "cut short or damaged"),
        (b"<!DOCTYPE html><html>", "web page"),
    ],
)
def test_a_bad_file_is_refused_in_one_line(tmp_path, data, pattern):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(data)
    assert_refused(path, pattern)


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path):
    assert_refused(tmp_path / "none.h5", "does not exist", FileNotFoundError)
    assert_refused(tmp_path, "is a folder", IsADirectoryError)


def test_a_file_too_large_for_a_loss_network_is_not_read(tmp_path, monkeypatch):
    write_parameters(tmp_path / "a.safetensors", random_parameters())
    monkeypatch.setattr("jaxnst.weights._files.MAX_BYTES", 100)
    assert_refused(tmp_path / "a.safetensors", "expected at most 100")


@pytest.fixture(scope="module")
def native_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("fuzz") / "a.safetensors"
    write_parameters(path, random_parameters(np.float16), metadata={"network": "small"})
    return path.read_bytes()


@fuzz
@given(data=st.binary(min_size=0, max_size=200))
def test_no_bytes_raise_anything_else(tmp_path, data):
    refused_or_read(tmp_path / "fuzz", data)
    refused_or_read(tmp_path / "fuzz", native_bytes(b"{" + data))


@fuzz
@given(place=st.floats(0, 1, exclude_max=True))
def test_no_truncation_is_read(tmp_path, native_file, place):
    (tmp_path / "fuzz").write_bytes(native_file[: int(place * len(native_file))])
    assert_refused(tmp_path / "fuzz", "cut short or damaged|is empty")


@fuzz
@given(flips=flips)
def test_no_flipped_bits_raise_anything_else(tmp_path, native_file, flips):
    refused_or_read(tmp_path / "fuzz", flip(native_file, flips))
    header = 8 + int.from_bytes(native_file[:8], "little")
    refused_or_read(tmp_path / "fuzz", flip(native_file[:header], flips) + native_file[header:])


# Checks.


def test_a_fitting_file_gives_its_layers_in_the_networks_order():
    found = dict(reversed(random_parameters().items()))
    assert check_parameters(found, SHAPES, "x") == ("conv1_1", "conv1_2", "conv2_1")


def test_a_file_may_end_at_a_whole_layer_only():
    found = random_parameters()
    del found["conv2_1/kernel"]
    with pytest.raises(ValueError, match="missing conv2_1/kernel: give"):
        check_parameters(found, SHAPES, "x")
    del found["conv2_1/bias"]
    assert check_parameters(found, SHAPES, "x") == ("conv1_1", "conv1_2")
    with pytest.raises(ValueError, match="missing conv2_1/kernel, conv2_1/bias: give"):
        check_parameters(found, SHAPES, "x", prefix_ok=False)


def test_a_gap_and_an_empty_file_are_missing_parameters():
    found = random_parameters()
    del found["conv1_2/kernel"], found["conv1_2/bias"]
    with pytest.raises(ValueError, match="missing conv1_2/kernel, conv1_2/bias: give"):
        check_parameters(found, SHAPES, "x")
    with pytest.raises(ValueError, match=r"missing conv1_1/kernel.*conv2_1/bias: give"):
        check_parameters({}, SHAPES, "x")


def test_every_kind_of_problem_is_listed_in_one_line():
    found = random_parameters()
    del found["conv1_1/bias"]
    found["conv1_2/kernel"] = np.zeros((4, 4, 3, 3), np.float32)
    found["conv2_1/bias"][3] = np.inf
    found["fc\n1/kernel"] = found["conv2_1/bias"]
    with pytest.raises(ValueError) as raised:
        check_parameters(found, SHAPES, Path("some.h5"))
    assert str(raised.value) == (
        "some.h5 does not fit the network: missing conv1_1/bias; unexpected fc 1/kernel; "
        "wrong shape conv1_2/kernel (4, 4, 3, 3) instead of (3, 3, 4, 4); "
        "not finite conv2_1/bias: give the file that was made for this network"
    )


def test_values_that_are_not_finite_call_for_another_copy():
    found = random_parameters()
    found["conv1_1/bias"][0] = np.nan
    with pytest.raises(ValueError, match="not finite conv1_1/bias: copy or download it again"):
        check_parameters(found, SHAPES, "x")


def test_long_lists_are_shortened():
    found = {f"layer{i}/kernel": np.zeros(1, np.float32) for i in range(18)}
    with pytest.raises(
        ValueError, match=r"unexpected (layer\d/kernel, ){5}layer5/kernel ... and 12"
    ):
        check_parameters(found | random_parameters(), SHAPES, "x")


def test_public_names_are_documented():
    for name in weights.__all__:
        assert getattr(weights, name).__doc__, name
