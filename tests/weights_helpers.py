"""What the tests of parameter files share."""

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from jaxnst.weights import read_parameters

SMALL = {"conv1_1": (3, 3, 3, 4), "conv1_2": (3, 3, 4, 4), "conv2_1": (3, 3, 4, 5)}
SHAPES = {
    f"{layer}/{part}": shape if part == "kernel" else shape[-1:]
    for layer, shape in SMALL.items()
    for part in ("kernel", "bias")
}


def random_parameters(dtype=np.float32):
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=shape).astype(dtype) for name, shape in SHAPES.items()}


def assert_same(found, expected):
    assert list(found) == list(expected)
    for name, values in expected.items():
        assert found[name].dtype == np.float32
        np.testing.assert_array_equal(found[name], values.astype(np.float32))


def assert_refused(path, pattern="", kind=ValueError):
    """The documented error, in one line that names the file and says what to do after a colon."""
    with pytest.raises(kind, match=pattern) as raised:
        read_parameters(path)
    text = str(raised.value)
    assert "\n" not in text and text.isprintable()
    assert str(path) in text and ":" in text.replace(str(path), "")


def refused_or_read(path, data):
    """Damage must not raise anything but ValueError; it may also hit a value, or nothing."""
    path.write_bytes(data)
    try:
        params, _ = read_parameters(path)
    except ValueError as error:
        assert "\n" not in str(error) and str(path) in str(error)
    else:
        assert all(values.dtype == np.float32 for values in params.values())


fuzz = settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def flip(data, flips):
    damaged = bytearray(data)
    for place, bit in flips:
        damaged[int(place * len(data))] ^= 1 << bit
    return bytes(damaged)


def flip_bits(rng, data):
    damaged = bytearray(data)
    for place in rng.integers(len(data), size=rng.choice([1, 1, 2, 8])):
        damaged[place] ^= 1 << rng.integers(8)
    return bytes(damaged)


flips = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 7)), min_size=1, max_size=8
)
