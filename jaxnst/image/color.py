"""Decoded pictures of any mode -> float32 sRGB: depth, profiles, transparency."""

import contextlib
import functools
import io
import struct
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

Pixels: TypeAlias = npt.NDArray[np.float32]

Matrix: TypeAlias = npt.NDArray[np.float64]

_SRGB = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
"""Chromaticities of sRGB: x and y of white, red, green and blue."""

PRIMARIES = {
    1: _SRGB,
    5: (0.3127, 0.3290, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),
    6: (0.3127, 0.3290, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    9: (0.3127, 0.3290, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),  # BT.2020
    11: (0.314, 0.351, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),  # DCI-P3
    12: (0.3127, 0.3290, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),  # Display P3
}
"""Chromaticities by their number in ITU-T H.273, table 2."""

_EXPONENTS = {1: None, 6: None, 14: None, 15: None, 13: None, 4: 2.2, 5: 2.8, 8: 1.0}
"""Exponents by number in H.273, table 3; None: sRGB's curve, by which BT.709 is shown too."""

PQ, HLG = 16, 18
"""Transfer characteristics of high dynamic range by number in H.273, table 3."""

HDR = {PQ: "PQ", HLG: "HLG"}

_NEAR_XY, _NEAR_EXPONENT = 0.01, 0.05
"""Chromaticities and exponents this near to sRGB's (absolute, relative) are sRGB, as for libpng."""

_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)
"""XYZ -> cone responses, in which white points are adapted (ICC.1:2022, annex E)."""

_ROWS = 256
"""Rows of a picture that are converted at a time."""

_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339  # TIFF tags
_WHITE_IS_ZERO, _SIGNED = 0, 2


class Colors(NamedTuple):
    """What the numbers of a picture mean, where that is neither sRGB nor given by a profile.

    Linear light is a number in [0, 1] to the power ``exponent``, or by sRGB's curve where that is
    None. The matrix converts it to sRGB's linear light.
    """

    exponent: float | None
    matrix: Matrix


def stated_colors(info: Mapping[Any, Any]) -> tuple[Colors | None, str | None]:
    """Look up what a PNG file states of its colors by numbers.

    In the order of PNG's third edition, 4.3: cICP, a profile, sRGB, gAMA with cHRM. ``info`` is
    what Pillow found beside the pixels, and ``cicp``, that chunk's four numbers.

    Returns:
      Colors to convert from, if any, and a notice if what the file states is not converted.
    """
    if "cicp" in info:
        primaries, transfer, matrix, full = info["cicp"]
        if primaries in PRIMARIES and transfer in _EXPONENTS and (matrix, full) == (0, 1):
            return _colors(PRIMARIES[primaries], _EXPONENTS[transfer]), None
        if "icc_profile" in info:  # which is meant for readers that cannot do better
            return None, None
        what = HDR.get(transfer, f"cICP {primaries}, {transfer}, {matrix}, {full}")
        return None, f"has colors of a kind that is not converted ({what}): they are read as sRGB"
    if "icc_profile" in info or "srgb" in info or not info.get("gamma"):
        return None, None
    exponent = 1 / info["gamma"]
    return _colors(info.get("chromaticity", _SRGB), exponent), None


def _colors(xy: tuple[float, ...], exponent: float | None) -> Colors | None:
    """Describe colors by their chromaticities and exponent, or return None if they are sRGB."""
    like_srgb = np.allclose(xy, _SRGB, rtol=0, atol=_NEAR_XY)
    if like_srgb and (exponent is None or abs(exponent / 2.2 - 1) < _NEAR_EXPONENT):
        return None
    if like_srgb:
        return Colors(exponent, np.eye(3))
    try:
        with np.errstate(all="raise"):
            return Colors(exponent, matrix_to_srgb(xy))
    except (ArithmeticError, np.linalg.LinAlgError):  # numbers that no color space has
        return None


def matrix_to_srgb(xy: tuple[float, ...]) -> Matrix:
    """Make the matrix from linear light to that of sRGB.

    Args:
      xy: Chromaticities: x and y of white, red, green and blue.
    """
    return np.linalg.inv(_to_xyz(_SRGB)) @ _to_xyz(xy)


def _to_xyz(xy: tuple[float, ...]) -> Matrix:
    """Make the matrix from linear RGB to XYZ, adapted to the white point of sRGB."""
    pairs = zip(xy[::2], xy[1::2], strict=True)
    white, *rest = (np.array([x / y, 1, (1 - x - y) / y]) for x, y in pairs)
    columns = np.stack(rest, axis=1)
    to_xyz = columns * np.linalg.solve(columns, white)
    x, y = _SRGB[:2]
    shown = _BRADFORD @ [x / y, 1, (1 - x - y) / y] / (_BRADFORD @ white)
    return np.linalg.inv(_BRADFORD) @ (shown[:, None] * _BRADFORD) @ to_xyz


def _convert(image: Pixels, colors: Colors) -> None:
    """Convert a picture to sRGB in place; what is outside of its gamut is clipped."""
    for top in range(0, len(image), _ROWS):
        rows = image[top : top + _ROWS]
        linear = to_linear(rows) if colors.exponent is None else rows**colors.exponent
        rows[...] = from_linear(np.clip(linear @ colors.matrix.T, 0, 1))


def to_linear(signal: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Convert sRGB in [0, 1] to linear light (IEC 61966-2-1)."""
    return np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4)


def from_linear(light: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Convert linear light in [0, 1] to sRGB."""
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def to_rgb(
    picture: Image.Image, tags: Mapping[int, Any], colors: Colors | None, *, alpha: bool = False
) -> Pixels:
    """Convert a loaded picture of any mode to float32 sRGB.

    ``tags`` are those of a TIFF file. ``colors`` say what its numbers mean, in place of its
    profile; None: what that says, else sRGB. With ``alpha``, transparency is kept as a fourth
    channel, if there is any; else the picture is shown on white.
    """
    profile = picture.info.get("icc_profile") if colors is None else None
    opacity = None
    if picture.mode.startswith(("I", "F")):
        gray, opacity = _deep_gray(picture, tags)
        image = _tint(gray, profile)
    else:
        is_gray = picture.mode in ("1", "L", "LA")
        if picture.has_transparency_data:
            picture = picture.convert("LA" if is_gray else "RGBA")
            opacity = _unit(picture.getchannel("A"))
        if is_gray:
            image = _tint(_unit(picture.convert("L")), profile)
        else:
            image = _unit(_to_srgb(picture, profile))
    if colors is not None:
        _convert(image, colors)
    if opacity is None or (opacity == 1).all():
        return image
    return np.dstack([image, opacity]) if alpha else flattened(image, opacity)


def flattened(image: Pixels, alpha: Pixels) -> Pixels:
    """Show a picture with straight color on white; ``image`` is overwritten."""
    image *= alpha[..., None]
    image += 1 - alpha[..., None]
    return image


@functools.cache
def srgb_profile() -> bytes:
    """Return an ICC profile of sRGB; the same bytes every time."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    # LittleCMS puts the time of day into it.
    return profile[:24] + struct.pack(">6H", 2000, 1, 1, 0, 0, 0) + profile[36:]


def _unit(picture: Image.Image) -> Pixels:
    """Scale 8-bit values to [0, 1]."""
    values = np.asarray(picture, np.float32)
    values /= 255  # in place: pictures can be large
    return values


def _deep_gray(picture: Image.Image, tags: Mapping[int, Any]) -> tuple[Pixels, Pixels | None]:
    """Scale gray of 12 to 32 bits to [0, 1] (TIFF's tags say how many, of what kind); and alpha."""
    stored = np.asarray(picture)
    bits, signed = tags.get(_BITS, (16,))[0], tags.get(_SAMPLE_FORMAT) == (_SIGNED,)
    if picture.mode == "I" and bits == 32 and not signed:
        stored = stored.view(np.uint32)  # Pillow has no such mode
    gray = stored.astype(np.float32)
    if not np.isfinite(gray).all():
        raise ValueError("it holds values that are not finite numbers")
    if picture.mode == "F":
        gray /= max(1.0, float(gray.max()))
    else:
        # Files of 32 bits mostly hold numbers of 16, and would come out black otherwise.
        gray /= 2.0 ** (16 if bits == 32 and gray.max() < 2**16 else bits - signed) - 1
    np.clip(gray, 0, 1, out=gray)
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        gray = 1 - gray
    hidden = picture.info.get("transparency")  # PNG: the one value that stands for transparent
    return gray, None if hidden is None else (stored != hidden).astype(np.float32)


def _tint(gray: Pixels, profile: object) -> Pixels:
    """Convert gray in [0, 1] to RGB by a table of 256 levels that the profile converts."""
    if not isinstance(profile, bytes):
        return np.repeat(gray[..., None], 3, axis=-1)
    levels = np.arange(256, dtype=np.uint8)
    table = np.asarray(_to_srgb(Image.fromarray(levels[None]), profile))[0]
    image = np.empty((*gray.shape, 3), np.float32)
    for c in range(3):  # one by one, as interp works in float64
        image[..., c] = np.interp(gray, levels / 255, table[:, c] / 255)
    return image


def _to_srgb(picture: Image.Image, profile: object) -> Image.Image:
    """Convert an 8-bit picture to RGB without alpha, by its profile if that can be used."""
    if picture.mode == "LAB":
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    if isinstance(profile, bytes) and profile != srgb_profile():
        # A profile that is damaged, or for another kind of picture, is ignored: better the
        # picture without it than none.
        with contextlib.suppress(ImageCms.PyCMSError, OSError, ValueError):
            embedded = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            space = embedded.profile.xcolor_space.strip()
            mode = {"GRAY": "L"}.get(space, space.upper())
            if mode == picture.mode or (mode == "RGB" and picture.mode not in ("CMYK", "LAB")):
                converted = ImageCms.profileToProfile(
                    picture.convert(mode),
                    embedded,
                    ImageCms.createProfile("sRGB"),
                    outputMode="RGB",
                    # LittleCMS' short cut for gray is off by up to 10 levels where it is dark. The
                    # exact way is slow, but gray is only a table here.
                    flags=ImageCms.Flags.NOOPTIMIZE if mode == "L" else ImageCms.Flags.NONE,
                )
                if converted is not None:
                    return converted
    return picture.convert("RGB")
