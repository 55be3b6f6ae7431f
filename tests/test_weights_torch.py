"""PyTorch's files, damaged, hostile and oversized; whole ones are in test_weights_formats.py."""

import io
import zipfile

import numpy as np
import pytest
from weights_helpers import assert_refused, flip_bits, refused_or_read

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore"),  # PyTorch's, of odd tensors
]

FORMS = pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="PyTorch is not installed")


def save(torch, path, found, legacy):
    torch.save(found, path, _use_new_zipfile_serialization=not legacy)
    return path


def repacked(data, change, compression=zipfile.ZIP_STORED):
    """An archive with its pickle changed and all sums of the parts right."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(stream, "w", compression) as new:
        for name in old.namelist():
            part = old.read(name)
            new.writestr(name, change(part) if name.endswith("data.pkl") else part)
    return stream.getvalue()


# All of the legacy form but the values is pickles, so flips do reach them there.
@pytest.mark.parametrize(
    ("legacy", "form"),
    [(False, "flipped"), (False, "cut"), (False, "pickle"), (True, "flipped"), (True, "cut")],
)
def test_no_damage_raises_anything_else(torch, tmp_path, legacy, form):
    state = {"conv1_1.weight": torch.ones(4, 3, 3, 3), "conv1_1.bias": torch.ones(4)}
    data = save(torch, tmp_path / "x.pth", {"state_dict": state}, legacy).read_bytes()
    rng = np.random.default_rng(0)
    damage = {
        "flipped": lambda: flip_bits(rng, data),
        "cut": lambda: data[: rng.integers(1, len(data))],
        "pickle": lambda: repacked(data, lambda part: flip_bits(rng, part)),
    }[form]
    for _ in range(150):
        refused_or_read(tmp_path / "x.pth", damage())


@pytest.mark.parametrize(
    ("make", "pattern"),
    [
        (lambda torch: torch.eye(3).to_sparse(), "more than plain tensors .*Sparse"),
        (lambda torch: torch.empty(3, device="meta"), "more than plain tensors .*meta"),
        (
            lambda torch: torch.ones(1, 1, 1, 1).expand(2**20, 2**20, 1, 1),
            "bytes, expected at most 10737",
        ),
        (lambda torch: torch.ones(1).expand(2**28 + 1), "bytes, expected at most 1073741824"),
    ],
    ids=["sparse", "meta", "terabytes", "gigabyte"],
)
@FORMS
def test_a_tensor_that_is_no_plain_array_is_refused(torch, tmp_path, legacy, make, pattern):
    state = {"conv1_1.weight": make(torch)}
    assert_refused(save(torch, tmp_path / "x.pth", state, legacy), pattern)


def test_an_archive_that_unpacks_to_too_much_is_not_read(torch, tmp_path, monkeypatch):
    data = save(torch, tmp_path / "x.pth", {"a.weight": torch.zeros(10**6)}, False).read_bytes()
    (tmp_path / "x.pth").write_bytes(repacked(data, bytes, zipfile.ZIP_DEFLATED))
    assert (tmp_path / "x.pth").stat().st_size < 10**5
    monkeypatch.setattr("jaxnst.weights._files.MAX_BYTES", 10**6)
    assert_refused(tmp_path / "x.pth", "unpacks to .* bytes, expected at most 1000000")


@FORMS
def test_a_file_that_is_too_large_is_not_read(torch, tmp_path, monkeypatch, legacy):
    monkeypatch.setattr("jaxnst.weights._files.MAX_BYTES", 100)
    path = save(torch, tmp_path / "x.pth", {"a.weight": torch.zeros(9)}, legacy)
    assert_refused(path, "bytes, expected at most 100: give a file that holds one loss network")


@FORMS
def test_an_error_without_words_is_named(torch, tmp_path, monkeypatch, legacy):
    def fail(*_, **__):
        raise AssertionError

    monkeypatch.setattr(torch, "load", fail)
    path = save(torch, tmp_path / "x.pth", {"a.weight": torch.zeros(9)}, legacy)
    assert_refused(path, r"more than plain tensors \(AssertionError\)")
