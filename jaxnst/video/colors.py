"""Colors of films -> sRGB: HLG and PQ, and films with wider primaries.

Light of a film is relative to that of its white: of HLG and PQ to their reference white, so that it
may exceed 1. What sRGB cannot show, brighter or more saturated, is clipped.
"""

import functools

import numpy as np
import numpy.typing as npt

from jaxnst.image.color import HDR, HLG, PQ, PRIMARIES, from_linear, matrix_to_srgb, to_linear

UNSAID, BT2020, P3 = 2, 9, 12
"""Primaries by their number in H.273, table 2, and in table 4 the matrix of BT.2020."""

WIDE = (BT2020, P3)

WHITE = 203.0
"""Luminance of HDR reference white, cd/m2 (ITU-R BT.2408, table 1): it becomes white."""

PEAK, GAMMA = 1000.0, 1.2
"""Luminance of the display that HLG is made for, cd/m2, and its system gamma (BT.2100, table 5)."""

LUMA = np.array((0.2627, 0.6780, 0.0593), np.float32)
"""Of BT.2020's primaries, linear (BT.2100, table 5)."""

TOP = 255 * 256
"""The level of white in 16 bits that FFmpeg makes of level 940 of 1023. Where white is 1023, it
makes 65535, a 256th more."""

Levels = npt.NDArray[np.uint16]
"""Pictures with 16 bits, ``(H, W, 3)``."""


def is_converted(transfer: int, primaries: int) -> bool:
    """Tell whether a film of such colors differs from sRGB; numbers as in H.273."""
    return transfer in HDR or primaries in WIDE


def to_srgb(levels: Levels, transfer: int, primaries: int) -> npt.NDArray[np.uint8]:
    """Convert a picture to sRGB.

    Args:
      levels: Its R'G'B'; white is TOP.
      transfer: By its number in H.273. Curves other than HLG and PQ are taken for sRGB's, as films
        in BT.709 are.
      primaries: By their number; HLG and PQ that do not state them have those of BT.2020.
    """
    light = _light(transfer)[levels]
    if transfer == HLG:  # scene light to that of a display, the OOTF of BT.2100, table 5
        light *= PEAK / WHITE * (light @ LUMA)[..., None] ** np.float32(GAMMA - 1)
    if transfer in HDR and primaries == UNSAID:
        primaries = BT2020
    if primaries in WIDE:
        light = light @ matrix_to_srgb(PRIMARIES[primaries]).T.astype(np.float32)
    return _encoded()[np.rint(65535 * light.clip(0, 1)).astype(np.uint16)]


@functools.cache
def _light(transfer: int) -> npt.NDArray[np.float32]:
    """Tabulate the light of all levels: of HLG that of the scene, up to 1."""
    signal = np.minimum(np.arange(65536) / TOP, 1)
    if transfer == PQ:  # the EOTF of BT.2100, table 4
        m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
        power = signal ** (1 / m2)
        light = 10000 / WHITE * (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1)
    elif transfer == HLG:  # the inverse OETF of BT.2100, table 5
        a = 0.17883277
        b, c = 1 - 4 * a, 0.5 - a * np.log(4 * a)
        light = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    else:
        light = to_linear(signal)
    return light.astype(np.float32)


@functools.cache
def _encoded() -> npt.NDArray[np.uint8]:
    """Tabulate the levels of sRGB by light, 0 to 65535."""
    return np.rint(255 * from_linear(np.arange(65536) / 65535)).astype(np.uint8)
