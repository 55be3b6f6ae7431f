"""Films in HLG and PQ, with wide primaries, and of every matrix and range, against exact colors."""

import numpy as np
import pytest
from feedforward_helpers import negative, read_back

from jaxnst.image.color import HDR, HLG, PQ
from jaxnst.video import decode, read_film

pytest.importorskip("av", reason="needs PyAV: pip install av")

# RGB to XYZ, of sRGB (IEC 61966-2-1), BT.2020 and P3 with the white of D65, as printed in tables.
SRGB = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750]]
SRGB += [[0.0193339, 0.1191920, 0.9503041]]
BT2020 = [[0.6369580, 0.1446169, 0.1688810], [0.2627002, 0.6779981, 0.0593017]]
BT2020 += [[0, 0.0280727, 1.0609851]]
P3 = [[0.4865709, 0.2656677, 0.1982173], [0.2289746, 0.6917385, 0.0792869]]
P3 += [[0, 0.0451134, 1.0439444]]

TO_XYZ = {decode.BT2020: BT2020, decode.P3: P3, 1: SRGB, 2: SRGB}

WHITES = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 9: (0.2627, 0.0593)}
"""Shares of red and blue in luma, by matrix."""


def signal(color, transfer, primaries):
    """R'G'B' in [0, 1] that shows a color of sRGB, 0 to 255: the way of a camera or a grader."""
    value = np.asarray(color) / 255
    light = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    if transfer in HDR and primaries == 2:
        primaries = decode.BT2020
    light = np.clip(light @ (np.linalg.solve(TO_XYZ[primaries], SRGB)).T, 0, None)
    if transfer == PQ:  # the inverse EOTF
        y = (light * 203 / 10000) ** (2610 / 16384)
        return ((3424 / 4096 + 2413 / 128 * y) / (1 + 2392 / 128 * y)) ** (2523 / 32)
    if transfer == HLG:  # the inverse OOTF, and the OETF
        shown = light * 0.203
        luma = np.maximum(shown @ (0.2627, 0.678, 0.0593), 1e-9)[..., None]
        scene = shown * luma ** (1 / 1.2 - 1)
        log = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
        return np.where(scene <= 1 / 12, np.sqrt(3 * scene), log)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def write_color(path, color, transfer, primaries, *, matrix, levels, bits=10, stated=None):
    """A film of one color, in one matrix, that may state another."""
    import av

    red, blue = WHITES[matrix]
    r, g, b = signal(color, transfer, primaries)
    luma = red * r + (1 - red - blue) * g + blue * b
    parts = luma, (b - luma) / (2 - 2 * blue), (r - luma) / (2 - 2 * red)
    low, high, chroma = (16, 235, 224) if levels == 1 else (0, 255, 255)
    if levels == 1:
        low, high, chroma = (n * 2 ** (bits - 8) for n in (low, high, chroma))
    else:
        high = chroma = 2**bits - 1
    offsets, scales = (low, *[2 ** (bits - 1)] * 2), (high - low, chroma, chroma)
    kind = {8: "yuv444p", 10: "yuv444p10le"}[bits]
    with av.open(str(path), "w") as film:
        stream = film.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = 32, 40, kind
        stream.options = {"crf": "1"}
        context = stream.codec_context
        context.color_trc, context.color_primaries = transfer, primaries
        context.color_range = levels
        context.colorspace = stated or matrix
        frame = av.VideoFrame(40, 32, kind)
        for plane, part, offset, scale in zip(frame.planes, parts, offsets, scales, strict=True):
            dtype = np.uint8 if bits == 8 else np.uint16
            level = round(offset + scale * part)
            plane.update(np.full(plane.buffer_size // dtype().itemsize, level, dtype).tobytes())
        frame.colorspace, frame.color_range = context.colorspace, levels
        for i in range(3):
            frame.pts = i
            film.mux(stream.encode(frame))
        film.mux(stream.encode(None))


@pytest.mark.parametrize("transfer", [PQ, HLG, 14])
@pytest.mark.parametrize("primaries", [decode.BT2020, decode.P3, 1])
def test_colors_of_every_kind_are_those_of_srgb(transfer, primaries):
    color = np.random.default_rng(0).integers(0, 256, (64, 64, 3))
    color[0, :3] = np.diag([255, 255, 255])
    color[1, :2] = [[0, 0, 0], [255, 255, 255]]
    levels = np.uint16(np.rint(decode.TOP * signal(color, transfer, primaries)))
    found = np.int16(decode.to_srgb(levels, transfer, primaries))
    # A step of the 16 bits is more than one of sRGB's where PQ is dark.
    assert np.abs(found - color).max() <= 1


@pytest.mark.parametrize(
    ("transfer", "percent", "luminance"),
    [
        *[(PQ, 38, 26), (PQ, 58, 203), (PQ, 75, 1000)],
        *[(HLG, 38, 26), (HLG, 75, 203), (HLG, 100, 1000)],
    ],
)
def test_levels_mean_what_bt_2408_says(transfer, percent, luminance):
    """Its table 1: an 18 % gray card, reference white, and the peak of a display."""
    light = min(1, luminance / 203)
    expected = 255 * (1.055 * light ** (1 / 2.4) - 0.055)
    levels = np.full((1, 1, 3), round(decode.TOP * percent / 100), np.uint16)
    found = decode.to_srgb(levels, transfer, decode.BT2020)
    np.testing.assert_allclose(found, expected, atol=2)


@pytest.mark.parametrize(
    ("transfer", "primaries", "matrix", "levels", "bits"),
    [
        (HLG, decode.BT2020, 9, 1, 10),
        (PQ, decode.BT2020, 9, 1, 10),
        (PQ, decode.BT2020, 9, 2, 10),
        (14, decode.BT2020, 9, 1, 10),
        (1, decode.P3, 1, 1, 8),
        *[
            (1, 1, matrix, levels, bits)
            for matrix in (1, 5)
            for levels in (1, 2)
            for bits in (8, 10)
        ],
    ],
)
@pytest.mark.parametrize("color", [(255, 255, 255), (200, 60, 30), (40, 90, 60)])
def test_films_are_read_in_the_colors_that_they_state(
    tmp_path, transfer, primaries, matrix, levels, bits, color
):
    source, output = tmp_path / "film.mp4", tmp_path / "out.mp4"
    write_color(source, color, transfer, primaries, matrix=matrix, levels=levels, bits=bits)
    notices, seen = negative(source, output)
    np.testing.assert_allclose(np.int16(seen[0][0, 9, 9]), color, atol=3)
    np.testing.assert_allclose(255 - read_back(output)[1][0, 9, 9], color, atol=5)
    name = HDR.get(transfer)
    assert notices == (
        ()
        if name is None
        else (
            f"{source} is {name}, converted to sRGB: what is brighter than its reference white "
            "(203 cd/m2) is clipped",
        )
    )


def test_hdr_that_does_not_state_its_matrix_has_that_of_bt_2020(tmp_path):
    color = (200, 60, 30)
    write_color(tmp_path / "film.mp4", color, HLG, 2, matrix=9, levels=1, stated=2)
    _, seen = negative(tmp_path / "film.mp4", tmp_path / "out.mp4")
    np.testing.assert_allclose(np.int16(seen[0][0, 9, 9]), color, atol=3)


def test_colors_that_ffmpeg_does_not_convert_are_refused(tmp_path):
    write_color(tmp_path / "film.mp4", (9, 9, 9), 1, 1, matrix=1, levels=1, stated=8)
    with pytest.raises(ValueError, match=r"has colors that cannot be read \(matrix 8 of H.273\)"):
        read_film(tmp_path / "film.mp4")
