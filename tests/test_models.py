"""Transformation networks as files, and pictures through them."""

import dataclasses
import json
import re
from pathlib import Path

import jax
import numpy as np
import pytest
from feedforward_helpers import SMALL, model
from safetensors.numpy import load_file, save_file

from jaxnst import weights
from jaxnst.feedforward import (
    apply_model,
    bundled_models,
    load_model,
    models,
    paint_frames,
    save_model,
)
from jaxnst.feedforward.perceptual import grid_loss
from jaxnst.image import load_image
from jaxnst.weights.state_dict import FAST_NEURAL_STYLE

PICTURE = np.random.default_rng(1).uniform(0, 1, (32, 40, 3)).astype(np.float32)


@pytest.fixture
def file(tmp_path):
    save_model(tmp_path / "small.safetensors", model())
    return tmp_path / "small.safetensors"


def changed(path, **words):
    """The file with other words in its metadata; None: without that word."""
    params, said = weights.read_parameters(path)
    said |= words
    save_file(params, path, {word: text for word, text in said.items() if text is not None})
    return path


def architecture(**changes):
    fields = {"widths": [4, 8, 8], "blocks": 2}
    return json.dumps(fields | changes)


# What ships.

CARDS = Path(__file__).parents[1] / "weights/styles/README.md"


@pytest.mark.parametrize("name", bundled_models())
def test_a_model_that_ships_paints_and_has_a_card(name):
    path = weights.bundled_styles()[name]
    assert path.stat().st_size <= 1_000_000
    found = load_model(name)
    assert re.fullmatch(r".+, .+, \d{4}", found.facts["style"])
    assert f"| `{name}` | {found.facts['style']} |" in CARDS.read_text("utf-8")
    rows, columns = np.mgrid[:64, :96]
    photo = np.stack([rows / 64, columns / 96, (rows + columns) % 16 / 16], -1).astype(np.float32)
    painted = np.asarray(apply_model(found, photo))
    # Of colors of its own, with contrast, and what was light and dark is not lost.
    assert np.abs(painted - photo).mean() > 0.1 < painted.std()
    assert not np.allclose(painted, np.asarray(apply_model(found, photo[::-1])), atol=0.1)


@pytest.mark.parametrize("name", bundled_models())
def test_a_model_that_ships_weaves_no_grid(name):
    found = load_model(name)
    photo = load_image(Path(__file__).parents[1] / "examples/content.jpg")
    painted = apply_model(found, photo)
    levels = 255 * np.sqrt(grid_loss(painted, period=found.module.stride))
    assert levels < 1, "deviation of the average cell from its mean, levels of 255"


# Files.


@pytest.mark.parametrize(
    "changes",
    [{}, {"normalization": "batch", "upsampling": "transposed", "output": "linear", "scale": 9.0}],
)
def test_a_model_is_read_as_it_was_written(tmp_path, changes):
    given = model("waves", **changes)
    save_model(tmp_path / "a.safetensors", given, dtype=np.float32)
    found = load_model(tmp_path / "a.safetensors")
    assert found == given and found.facts["style"] == "random numbers"
    jax.tree.map(np.testing.assert_array_equal, found.params, given.params)


def test_a_converted_model_is_still_one(file, tmp_path, call):
    out = tmp_path / "converted.safetensors"
    assert call("weights", "convert", str(file), "-o", str(out))[0] == 0
    assert load_model(out) == load_model(file)
    tensors = {f"module.conv{i}.conv2d.weight": np.ones((4, 3, 3, 3), np.float32) for i in (1, 2)}
    save_file(tensors, tmp_path / "state_dict.safetensors")
    given = tmp_path / "state_dict.safetensors"
    assert call("weights", "convert", str(given), "-o", str(out))[0] == 0
    assert weights.read_parameters(out)[1]["model"] == FAST_NEURAL_STYLE


def test_files_are_of_half_precision_and_the_same_bytes_again(file, tmp_path):
    save_model(tmp_path / "again.safetensors", load_model(file))
    assert (tmp_path / "again.safetensors").read_bytes() == file.read_bytes()
    assert {str(v.dtype) for v in load_file(file).values()} == {"float16"}


def test_models_that_ship_go_by_their_names(file, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(models, "bundled_styles", lambda: {"waves": file})
    assert bundled_models() == ("waves",)
    assert load_model("waves") == load_model(file)
    with pytest.raises(FileNotFoundError, match=r"no model wavs.*or a bundled model .waves."):
        load_model("wavs")


def test_models_that_ship_are_found_in_their_folder(file, monkeypatch, tmp_path):
    (tmp_path / "data/styles").mkdir(parents=True)
    file.rename(tmp_path / "data/styles/waves.safetensors")
    monkeypatch.setattr(weights.registry, "_PACKAGE", tmp_path)
    assert weights.bundled_styles() == {"waves": tmp_path / "data/styles/waves.safetensors"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"model": "transformation-network-2"}, "version 2, expected 1: install the newest"),
        ({"model": None}, "is not a transformation network, but holds .*: give a file that"),
        ({"architecture": None}, "describes an architecture that this jaxnst does not know"),
        ({"architecture": "[[["}, "does not know .*: install the newest jaxnst, or make"),
        ({"architecture": architecture(depth=3)}, "unknown depth"),
        ({"architecture": architecture(output="relu")}, "output is 'relu'"),
        ({"architecture": architecture(widths=[4, 2.5])}, r"widths is \[4, 2.5\]"),
        ({"architecture": architecture(blocks=-1)}, "blocks is -1, expected 0 to 100"),
        ({"architecture": architecture(scale=0)}, "scale is 0.0, expected a number above 0"),
        ({"architecture": architecture(blocks=3)}, "missing res3_1/kernel"),
        ({"architecture": architecture(widths=[4, 8, 6])}, "wrong shape conv3/kernel"),
    ],
)
def test_other_models_are_refused_in_one_line(file, words, message):
    with pytest.raises(ValueError, match=message) as raised:
        load_model(changed(file, **words))
    assert str(file) in str(raised.value) and "\n" not in str(raised.value)


def test_a_loss_network_is_no_model():
    path = weights.bundled("vgg16-lite.safetensors")
    with pytest.raises(ValueError, match="not a transformation network, but holds conv1_1/kernel"):
        load_model(path)


def test_files_cut_short_or_with_values_that_are_not_finite_are_refused(file):
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match="cut short"):
        load_model(file)
    at = len(data) - 2  # the last bias
    file.write_bytes(data[:at] + b"\x00\x7c")  # infinity
    with pytest.raises(ValueError, match="not finite out/bias"):
        load_model(file)


def test_what_cannot_be_saved_is_refused_and_changes_nothing(file):
    before = file.read_bytes()
    small = model()
    large = {**small.params, "out": {k: 1e6 * v for k, v in small.params["out"].items()}}
    with pytest.raises(ValueError, match="out/kernel holds values that are not finite"):
        save_model(file, dataclasses.replace(small, params=large))
    with pytest.raises(ValueError, match="a fact is called 'name'"):
        save_model(file, dataclasses.replace(small, facts={"name": "x"}))
    fewer = {name: of for name, of in small.params.items() if name != "conv2"}
    with pytest.raises(ValueError, match="model small does not fit the network: missing conv2"):
        save_model(file, dataclasses.replace(small, params=fewer))
    assert file.read_bytes() == before


# Pictures.


def test_pictures_come_out_in_their_shape_and_range_one_or_several():
    small = model()
    one = apply_model(small, PICTURE)
    assert one.shape == PICTURE.shape and one.dtype == np.float32
    assert 0 <= one.min() < one.max() <= 1 and one.std() > 0.1
    several = apply_model(small, np.stack([PICTURE, PICTURE[::-1]]))
    np.testing.assert_allclose(several[0], one, atol=2e-5)


def test_networks_of_one_architecture_share_a_program():
    small = model()
    other = dataclasses.replace(
        small, name="other", params=jax.tree.map(lambda v: v + 0.01, small.params)
    )
    apply_model(small, PICTURE)
    count = models.painted._cache_size()
    assert np.abs(apply_model(other, PICTURE) - apply_model(small, PICTURE)).max() > 0.01
    assert models.painted._cache_size() == count


def test_frames_are_painted_as_pictures_are():
    small, frames = model(), np.rint(255 * PICTURE).astype(np.uint8)[None]
    found = paint_frames(small, frames)
    assert found.dtype == np.uint8
    expected = apply_model(small, frames[0].astype(np.float32) / 255)
    assert np.abs(np.asarray(found[0], int) - 255 * np.asarray(expected)).max() < 0.51


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (np.zeros((32, 40, 3), np.uint8), TypeError, "dtype uint8, expected floating point"),
        (np.zeros((32, 40), np.float32), ValueError, r"shape \(32, 40\), expected"),
        (np.zeros((0, 32, 40, 3), np.float32), ValueError, "shape"),
        (np.full((32, 40, 3), np.nan, np.float32), ValueError, "not finite"),
        (np.full((32, 40, 3), 2, np.float32), ValueError, "divide 8-bit values by 255"),
        (np.zeros((7, 40, 3), np.float32), ValueError, "40x7, expected at least 8 pixels"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_other_arrays_are_refused(image, error, message):
    with pytest.raises(error, match=message):
        apply_model(model(), image)


def test_models_are_keys_of_programs_without_their_parameters():
    assert hash(model()) == hash(dataclasses.replace(model(), params={}))
    assert model().module == SMALL
