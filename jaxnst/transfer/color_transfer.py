"""Giving a picture the colors of another: pure functions of arrays on the host.

Pictures are ``(H, W, 3)`` float32 RGB in [0, 1], gamma-encoded as files are. Matched colors may
leave that range; only :func:`recolor_before` and :func:`recolor_after` clip to it. Statistics are
summed in float64.

References:
  Gatys, Bethge, Hertzmann, Shechtman: Preserving Color in Neural Artistic Style Transfer.
    arXiv:1606.05897, 2016.
  Pitié, Kokaram: The Linear Monge-Kantorovitch Linear Colour Mapping for Example-Based Colour
    Transfer. CVMP 2007.
  Ottosson: A perceptual color space for image processing. 2020 (OKLab).
  Gonzalez, Woods: Digital Image Processing, on histogram matching (specification).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from jaxnst.image.color import from_linear, to_linear
from jaxnst.recipes.schema import Colors
from jaxnst.transfer.result import Picture

LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)
"""Y of YIQ, of gamma-encoded RGB (ITU-R BT.601), which Gatys et al. 2016 transfer."""

LEAST_VARIANCE = 1 / 255**2 / 3
"""Variance of rounding errors of up to one of 256 levels.

A direction in which colors vary no more than that is not stretched: the rounding errors of a gray
picture must not become its colors."""

PIXELS_AT_ONCE = 2**20

TO_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
TO_OKLAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)
"""From linear sRGB to responses of cones, and from their cubic roots to OKLab (Ottosson 2020)."""


def luminance(image: Picture) -> Picture:
    """Compute Y of YIQ, ``(H, W)``."""
    return image @ LUMINANCE


def content_luminance(result: Picture, content: Picture) -> Picture:
    """Combine a result's luminance with the content's chroma (Gatys et al. 2016, section 4).

    I and Q of YIQ depend on differences of channels alone, so that adding the difference of the
    luminances to all channels of the content is the exchange of Y in YIQ.

    Raises:
      ValueError: If their sizes differ.
    """
    if result.shape != content.shape:
        raise ValueError(
            f"result has shape {result.shape} and content {content.shape}: resize one of them"
        )
    return content + (luminance(result) - luminance(content))[..., None]


def match_luminance(image: Picture, reference: Picture) -> Picture:
    """Make an image gray, with the mean and deviation of the reference's luminance.

    ``s_r / s_i (Y_i - m_i) + m_r`` (Gatys et al. 2016, section 4), in all channels alike. Without
    contrast in the image it is ``m_r`` everywhere.
    """
    gray, target = luminance(image), luminance(reference)
    mean, deviation = (f(gray, dtype=np.float64) for f in (np.mean, np.std))
    target_mean, target_deviation = (f(target, dtype=np.float64) for f in (np.mean, np.std))
    factor = target_deviation / deviation if deviation**2 > LEAST_VARIANCE else 0.0
    matched = (gray - np.float32(mean)) * np.float32(factor) + np.float32(target_mean)
    return np.repeat(matched[..., None], 3, axis=-1)


def match_linear(image: Picture, reference: Picture) -> Picture:
    """Give an image the reference's mean and covariance of colors by an affine map.

    ``A (x - m_i) + m_r`` with ``A = C_i^-1/2 (C_i^1/2 C_r C_i^1/2)^1/2 C_i^-1/2``: of all such maps
    the symmetric one, which moves colors least (Pitié and Kokaram 2007). Gatys et al. 2016,
    section 3, take others.

    Directions in which the image's colors hardly vary (:data:`LEAST_VARIANCE`) are given no
    variation: there the inverse root is zero. A gray image stays an image of one hue, tinted by
    the reference's mean, and a constant one becomes that mean.
    """
    mean, covariance = _moments(image)
    target_mean, target_covariance = _moments(reference)
    variances, axes = np.linalg.eigh(covariance)
    varies = variances > LEAST_VARIANCE
    deviations = np.sqrt(np.where(varies, variances, 1.0))
    root = (axes * np.where(varies, deviations, 0.0)) @ axes.T
    inverse = (axes * np.where(varies, 1 / deviations, 0.0)) @ axes.T
    # The root of a symmetric matrix, whose negative eigenvalues (of rounding) count as zero.
    values, axes = np.linalg.eigh(root @ target_covariance @ root)
    middle = (axes * np.sqrt(np.maximum(values, 0))) @ axes.T
    stretch = inverse @ middle @ inverse
    centered = image - mean.astype(np.float32)
    return centered @ stretch.astype(np.float32) + target_mean.astype(np.float32)


def match_palette(image: Picture, references: Sequence[Picture]) -> Picture:
    """Give an image the hues and saturations of pictures, in [0, 1]; its lightness is kept.

    a and b of OKLab are mapped as :func:`match_linear` maps colors, to the mean and covariance that
    they have in all pixels of the references, of which small ones count for less (Kolkin et al.
    2022 map those of the photograph, and filter them along the edges of the result).
    """
    lab = to_oklab(image)
    chroma = [to_oklab(reference)[..., 1:].reshape(1, -1, 2) for reference in references]
    lab[..., 1:] = match_linear(lab[..., 1:], np.concatenate(chroma, axis=1))
    return np.clip(from_oklab(lab), 0, 1)


def to_oklab(image: Picture) -> Picture:
    """Convert sRGB in [0, 1] to OKLab: lightness, a (green to red) and b (blue to yellow)."""
    cones = np.cbrt(to_linear(np.clip(image, 0, 1)) @ TO_CONES.T)
    return (cones @ TO_OKLAB.T).astype(np.float32)


def from_oklab(lab: Picture) -> Picture:
    """Convert OKLab to sRGB. Colors that sRGB lacks are clipped, channel by channel."""
    linear = (lab @ np.linalg.inv(TO_OKLAB).T) ** 3 @ np.linalg.inv(TO_CONES).T
    return from_linear(np.clip(linear, 0, 1)).astype(np.float32)


def match_histogram(image: Picture, reference: Picture) -> Picture:
    """Give each channel of RGB the reference's distribution of values, exactly (by sorting).

    The value of rank k becomes the reference's value of that rank. Where sizes differ, it becomes
    the mean of the reference's values over the ranks that it stands for. Equal values share their
    ranks, so that they stay equal: a constant channel becomes the reference's mean. That is
    one-dimensional optimal transport; with bins for ranks it is Gonzalez and Woods'.

    Channels are matched one by one, so correlations between them are not matched.
    """
    channels = [_match_values(image[..., c].ravel(), reference[..., c]) for c in range(3)]
    return np.stack(channels, axis=-1).reshape(image.shape)


def _match_values(values: Picture, reference: Picture) -> Picture:
    """Match one channel: mean reference value over the ranks of each value."""
    _, indices, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.concatenate([[0], np.cumsum(counts)]) * (reference.size / values.size)
    sums = np.concatenate([[0.0], np.cumsum(np.sort(reference, axis=None), dtype=np.float64)])
    below = np.interp(ends, np.arange(reference.size + 1), sums)
    means = np.diff(below) / np.diff(ends)
    return means[indices].astype(np.float32)


MATCHES = {
    "content-luminance": match_luminance,
    "linear": match_linear,
    "histogram": match_histogram,
}
"""How an image's colors are matched to another's, by :class:`jaxnst.recipes.schema.Colors.mode`."""


def recolor_before(colors: Colors, picture: Picture, content: Picture) -> Picture:
    """Give a style the content's colors before the transfer, in [0, 1].

    With ``content-luminance`` the result is gray; the content is made gray by the same call.
    """
    return np.clip(MATCHES[colors.mode](picture, content), 0, 1)


def recolor_after(
    colors: Colors, result: Picture, content: Picture, *, styles: Sequence[Picture] = ()
) -> Picture:
    """Give a result the colors of the content, which has the same size, or of styles, in [0, 1]."""
    if colors.mode == "palette":
        return match_palette(result, styles)
    match = content_luminance if colors.mode == "content-luminance" else MATCHES[colors.mode]
    return np.clip(match(result, content), 0, 1)


def _moments(image: Picture) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute mean and covariance of the channels, in pieces that take little memory."""
    flat = image.reshape(-1, image.shape[-1])
    mean = flat.mean(axis=0, dtype=np.float64)
    covariance = np.zeros((len(mean), len(mean)))
    for first in range(0, len(flat), PIXELS_AT_ONCE):
        centered = flat[first : first + PIXELS_AT_ONCE] - mean
        covariance += centered.T @ centered
    return mean, covariance / len(flat)
