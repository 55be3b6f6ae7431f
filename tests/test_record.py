"""Records: text and back, in every format, deterministic; hostile ones end in one line."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_helpers import encoded, levels
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from jaxnst.image import ENDINGS, holds, read_record, save_image
from jaxnst.image.record import (
    MARK,
    MAX_BYTES,
    Record,
    Source,
    format_record,
    parameters_sha256,
    parse_record,
    source_of,
)
from jaxnst.recipes import RECIPES, get_recipe

HOLDING = [ending for ending in ENDINGS if holds(f"x{ending}", "record")]


def make(**changes):
    """Return a record with something in every field."""
    record = Record(
        recipe=get_recipe("default"),
        network="vgg16-lite",
        network_sha256="0" * 64,
        size=2048,
        style_size=512,
        seed=2**32 - 1,
        precision="bfloat16",
        remat=True,
        tile=1024,
        platform="gpu",
        threads=8,
        sources=(
            Source(role="content", name="Straße \U0001f3a8.png", sha256="ab" * 32),
            Source(role="style", name="a\nb\x1b[31m\udcff", sha256="01" * 32),
        ),
        arguments={"mix": (1.0, 0.1, 3), "deterministic": True, "preprocessing": "caffe"},
        jaxnst="1.2.3",
        jax="0.10.9",
    )
    return dataclasses.replace(record, **changes)


# Text.


@pytest.mark.parametrize("name", RECIPES)
def test_a_record_written_and_read_is_itself(name):
    for size in (None, 512):
        record = make(recipe=get_recipe(name), size=size, style_size=size)
        text = format_record(record)
        assert parse_record(text) == record
        assert text.isascii() and "\n" not in text and text.startswith(MARK)


numbers = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53)


@given(
    st.dictionaries(
        st.text(min_size=1), st.booleans() | st.text() | numbers | st.tuples(numbers, st.text())
    ),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=50, deadline=None)
def test_any_arguments_and_seed_come_back(arguments, seed):
    record = make(arguments=arguments, seed=seed)
    assert parse_record(format_record(record)) == record


def test_the_order_of_arguments_is_not_written():
    one, other = {"a": 1, "b": 2}, {"b": 2, "a": 1}
    assert format_record(make(arguments=one)) == format_record(make(arguments=other))


def test_a_record_says_its_versions_by_itself():
    made = Record(
        recipe=get_recipe("default"), network="n", network_sha256="0" * 64, size=1, sources=()
    )
    assert made.jaxnst and made.jax.count(".") >= 2
    assert hash(made) == hash(dataclasses.replace(made, arguments={"a": 1}))


def test_a_source_is_its_name_without_a_folder_and_its_digest(tmp_path):
    (tmp_path / "folder").mkdir()
    path = tmp_path / "folder" / "x.png"
    path.write_bytes(b"abc")
    source = source_of("content", path)
    assert source.name == "x.png"
    # FIPS 180-2, appendix B.1.
    assert source.sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    with pytest.raises(FileNotFoundError):
        source_of("content", tmp_path / "none.png")
    with pytest.raises(IsADirectoryError):
        source_of("content", tmp_path)


def test_parameters_are_digested_with_names_and_shapes():
    params = {"a": {"kernel": np.arange(6, dtype=np.float32)}, "b": {"bias": np.ones(2)}}
    found = parameters_sha256(params)
    assert found == parameters_sha256(dict(reversed(params.items())))
    others = [
        {**params, "a": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3)}},
        {**params, "a": {"gamma": params["a"]["kernel"]}},
        {**params, "b": {"bias": np.ones(2) * 1.0001}},
        {"a": params["a"]},
    ]
    assert len({found, *map(parameters_sha256, others)}) == 5


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"seed": -1}, "seed is -1"),
        ({"size": 0}, "size is 0"),
        ({"network_sha256": "0"}, "64 hexadecimal digits"),
        ({"network_sha256": "G" * 64}, "64 hexadecimal digits"),
        ({"network": ""}, "network is ''"),
        ({"arguments": {"x": float("nan")}}, "argument x is nan"),
        ({"arguments": {"x": (1.0, float("inf"))}}, "argument x is inf"),
    ],
)
def test_wrong_values_are_refused(changes, says):
    with pytest.raises(ValueError, match=says):
        make(**changes)


def test_a_record_that_fits_into_no_file_is_refused_before_it_is_written(tmp_path):
    long = make(arguments={str(i): "x" * 100 for i in range(600)})
    with pytest.raises(ValueError, match="leave it out"):
        save_image(tmp_path / "x.png", levels() / np.float32(255), record=long)
    assert not list(tmp_path.iterdir())


# Files.


@pytest.mark.parametrize("ending", HOLDING)
def test_every_format_but_bmp_holds_a_record(tmp_path, ending):
    path, record = tmp_path / f"x{ending}", make()
    found = []
    for _ in range(2):
        save_image(path, levels() / np.float32(255), record=record, dpi=300)
        found.append(path.read_bytes())
    assert found[0] == found[1]
    assert read_record(path) == record
    assert str(tmp_path).encode() not in found[0]
    save_image(path, levels() / np.float32(255))
    assert read_record(path) is None


@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_16_bits_hold_a_record(tmp_path, ending):
    pytest.importorskip("imagecodecs")
    path = tmp_path / f"x{ending}"
    save_image(path, levels() / np.float32(255), record=make(), bits=16)
    assert read_record(path) == make()


@pytest.mark.parametrize("ending", HOLDING)
def test_a_record_as_long_as_can_be_is_held(tmp_path, ending):
    record = make(arguments={})
    room = MAX_BYTES - len(format_record(make(arguments={"x": ""})))
    long = make(arguments={"x": "y" * room})
    assert len(format_record(long)) == MAX_BYTES > len(format_record(record))
    save_image(tmp_path / f"x{ending}", levels() / np.float32(255), record=long)
    assert read_record(tmp_path / f"x{ending}") == long


def test_bmp_has_no_room(tmp_path):
    with pytest.raises(ValueError, match="BMP has no room for a record"):
        save_image(tmp_path / "x.bmp", levels() / np.float32(255), record=make())
    save_image(tmp_path / "x.bmp", levels() / np.float32(255))
    assert read_record(tmp_path / "x.bmp") is None


def test_other_programs_texts_are_no_records(tmp_path):
    path, picture = tmp_path / "x", Image.fromarray(levels())
    exif = Image.Exif()
    exif[34665] = {37510: b"ASCII\0\0\0a sunny day"}
    path.write_bytes(encoded(picture, "JPEG", exif=exif))
    assert read_record(path) is None
    path.write_bytes(encoded(picture, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"))
    assert read_record(path) is None
    path.write_bytes(encoded(picture, "TIFF", tiffinfo={270: '{"shape": [1, 2]}'}))
    assert read_record(path) is None
    path.write_text("no picture")
    with pytest.raises(ValueError, match="is not a JPEG"):
        read_record(path)


# Hostile text.

GOOD = json.loads(format_record(make()))


def changed(**changes):
    return json.dumps({**GOOD, **changes})


HOSTILE = {
    "empty": ("", "damaged"),
    "no JSON": (MARK + "1,", "damaged"),
    "another JSON": ("[1, 2]", "no version"),
    "number": ("7", "no version"),
    "no version": (json.dumps({"recipe": {}}), "no version"),
    "older": (changed(jaxnst_record=1), "expected 2: its network vgg19-lite is gone"),
    "newer": (changed(jaxnst_record=3), "version 3, expected 2: use the jaxnst that made"),
    "version is no number": (changed(jaxnst_record={"a": 1}), "version {'a': 1}"),
    "version is true": (changed(jaxnst_record=True), "version True"),
    "too long": (" " * (MAX_BYTES + 1), "more than"),
    "deep": ("[" * (MAX_BYTES - 1), "damaged"),
    "deep inside": (MARK + '1,"arguments":' + '{"a":' * 9000, "damaged"),
    "deep and whole": (changed(sources=json.loads("[" * 400 + "]" * 400)), "damaged"),
    "nan": (changed(seed=float("nan")), "no finite number"),
    "infinity in arguments": (changed(arguments={"x": float("-inf")}), "no finite number"),
    "overflow": (format_record(make()).replace("4294967295", "1e999"), "no finite number"),
    "long number": (format_record(make()).replace("4294967295", "9" * 5000), "too large"),
    "unknown key": (changed(path="/etc/passwd"), "'path' is unknown"),
    "unknown recipe key": (changed(recipe={"siez": 1}), "unknown key 'siez'"),
    "recipe is a text": (changed(recipe="default"), "recipe is 'default'"),
    "recipe's value": (changed(recipe={"style": {"weight": "x"}}), "style.weight is 'x'"),
    "recipe's range": (changed(recipe={"style": {"weight": -1}}), "style weight is -1"),
    "recipe's layers": (changed(recipe={"style": {"layers": [1]}}), "style.layers"),
    "sources": (changed(sources={"a": 1}), "sources is"),
    "a source": (changed(sources=["x"]), "source is 'x'"),
    "a source's key": (changed(sources=[{"path": "/"}]), "'path' is unknown"),
    "a source without a digest": (changed(sources=[{"role": "a", "name": "b"}]), "damaged"),
    "a source's name": (
        changed(sources=[{"role": "a", "name": 5, "sha256": "0" * 64}]),
        "damaged",
    ),
    "a long name": (
        changed(sources=[{"role": "a", "name": "x" * 1001, "sha256": "0" * 64}]),
        "1 to 1000 letters",
    ),
    "arguments": (changed(arguments=[1]), "arguments is"),
    "an argument": (changed(arguments={"x": {"y": 1}}), "damaged"),
    "an argument's list": (changed(arguments={"x": [[1]]}), "damaged"),
    "size is a text": (changed(size="512"), "damaged"),
    "size is true": (changed(size=True), "size is True"),
    "seed is none": (changed(seed=None), "damaged"),
    "precision": (changed(precision="float8"), "damaged"),
    "digest": (changed(network_sha256=0), "damaged"),
}


@pytest.mark.parametrize("which", HOSTILE)
def test_hostile_text_is_one_short_line(which):
    text, says = HOSTILE[which]
    with pytest.raises(ValueError) as caught:
        parse_record(text)
    line = str(caught.value)
    assert says in line and "\n" not in line and len(line) < 300


@pytest.mark.parametrize("key", ["recipe", "network", "network_sha256", "jaxnst", "jax"])
def test_what_is_missing_is_named(key):
    with pytest.raises(ValueError, match=f"{key} is missing"):
        parse_record(json.dumps({k: v for k, v in GOOD.items() if k != key}))


def test_only_another_command_has_no_recipe():
    table = {key: value for key, value in GOOD.items() if key != "recipe"}
    record = parse_record(json.dumps({**table, "arguments": {"command": "instant"}}))
    assert record.recipe is None and parse_record(format_record(record)) == record


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@given(st.sampled_from(sorted(GOOD)), json_values)
@settings(max_examples=60, deadline=None)
def test_any_value_anywhere_is_a_record_or_one_line(key, value):
    try:
        assert isinstance(parse_record(changed(**{key: value})), Record)
    except ValueError as error:
        assert "\n" not in str(error) and len(str(error)) < 300


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
@pytest.mark.parametrize("text", [MARK + "NaN}", MARK + "[" * 3000, MARK + "9}"])
def test_a_hostile_file_is_one_line_that_names_it(tmp_path, kind, text):
    path, picture = tmp_path / "x.png", Image.new("RGB", (4, 3))
    exif, chunks = Image.Exif(), PngInfo()
    exif[34665] = {37510: b"ASCII\0\0\0" + text.encode()}
    chunks.add_itxt("jaxnst", text, zip=True)
    options = {"PNG": {"pnginfo": chunks}, "TIFF": {"tiffinfo": {270: text}}}
    path.write_bytes(encoded(picture, kind, **options.get(kind, {"exif": exif})))
    with pytest.raises(ValueError, match=r"x\.png: the record is") as caught:
        read_record(path)
    assert "\n" not in str(caught.value)


def test_a_bomb_of_text_is_refused(tmp_path):
    chunks = PngInfo()
    chunks.add_itxt("jaxnst", " " * 2**24, zip=True)
    path = tmp_path / "x.png"
    path.write_bytes(encoded(Image.new("RGB", (4, 3)), "PNG", pnginfo=chunks))
    assert path.stat().st_size < 2**16
    with pytest.raises(ValueError, match=r"x\.png"):
        read_record(path)
