"""Decoded pictures of any mode -> float32 sRGB: depth, profiles, transparency.

The colour half of :mod:`jaxnst.image`; what else is here is for its own use.
"""

import contextlib
import functools
import io
import struct
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

Pixels: TypeAlias = npt.NDArray[np.float32]

_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339  # TIFF tags
_WHITE_IS_ZERO, _SIGNED = 0, 2


def to_rgb(picture: Image.Image, tags: Mapping[int, Any], *, alpha: bool = False) -> Pixels:
    """Convert a loaded picture of any mode to float32 sRGB.

    Args:
      picture: Of any mode.
      tags: Those of a TIFF file.
      alpha: Whether to keep transparency, if there is any, as a fourth channel; else the picture
        is shown on white.
    """
    profile = picture.info.get("icc_profile")
    seen = None
    if picture.mode.startswith(("I", "F")):
        grey, seen = _deep_grey(picture, tags)
        image = _tint(grey, profile)
    else:
        is_grey = picture.mode in ("1", "L", "LA")
        if picture.has_transparency_data:
            picture = picture.convert("LA" if is_grey else "RGBA")
            seen = _unit(picture.getchannel("A"))
        if is_grey:
            image = _tint(_unit(picture.convert("L")), profile)
        else:
            image = _unit(_to_srgb(picture, profile))
    if seen is None or (seen == 1).all():
        return image
    return np.dstack([image, seen]) if alpha else flattened(image, seen)


def flattened(image: Pixels, alpha: Pixels) -> Pixels:
    """Show a picture with straight colour on white; ``image`` is overwritten."""
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


def _deep_grey(picture: Image.Image, tags: Mapping[int, Any]) -> tuple[Pixels, Pixels | None]:
    """Scale grey of 12 to 32 bits to [0, 1] (TIFF's tags say how many, of what kind); and alpha."""
    stored = np.asarray(picture)
    bits, signed = tags.get(_BITS, (16,))[0], tags.get(_SAMPLE_FORMAT) == (_SIGNED,)
    if picture.mode == "I" and bits == 32 and not signed:
        stored = stored.view(np.uint32)  # Pillow has no such mode
    grey = stored.astype(np.float32)
    if not np.isfinite(grey).all():
        raise ValueError("it holds values that are not finite numbers")
    if picture.mode == "F":
        grey /= max(1.0, float(grey.max()))
    else:
        # Files of 32 bits mostly hold numbers of 16, and would come out black otherwise.
        grey /= 2.0 ** (16 if bits == 32 and grey.max() < 2**16 else bits - signed) - 1
    np.clip(grey, 0, 1, out=grey)
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        grey = 1 - grey
    clear = picture.info.get("transparency")  # PNG: the one value that stands for transparent
    return grey, None if clear is None else (stored != clear).astype(np.float32)


def _tint(grey: Pixels, profile: object) -> Pixels:
    """Convert grey in [0, 1] to RGB, by way of a table of what the profile makes of 256 levels."""
    if not isinstance(profile, bytes):
        return np.repeat(grey[..., None], 3, axis=-1)
    levels = np.arange(256, dtype=np.uint8)
    table = np.asarray(_to_srgb(Image.fromarray(levels[None]), profile))[0]
    image = np.empty((*grey.shape, 3), np.float32)
    for c in range(3):  # one by one, as interp works in float64
        image[..., c] = np.interp(grey, levels / 255, table[:, c] / 255)
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
            mode = _profile_mode(picture.mode, embedded.profile.xcolor_space.strip())
            converted = ImageCms.profileToProfile(
                picture.convert(mode),
                embedded,
                ImageCms.createProfile("sRGB"),
                outputMode="RGB",
                # LittleCMS' short cut for grey is off by up to 10 levels where it is dark. The
                # exact way is slow, but grey is only a table here.
                flags=ImageCms.Flags.NOOPTIMIZE if mode == "L" else ImageCms.Flags.NONE,
            )
            if converted is not None:
                return converted
    return picture.convert("RGB")


def _profile_mode(mode: str, space: str) -> str:
    """Name the mode into which a picture is converted for a profile of some colour space."""
    if space == "RGB" and mode not in ("CMYK", "LAB"):
        return "RGB"
    if space == "GRAY" and mode == "L":
        return "L"
    if space.upper() == mode:  # CMYK, LAB
        return mode
    raise ValueError(f"a profile for {space} says nothing about {mode}")
