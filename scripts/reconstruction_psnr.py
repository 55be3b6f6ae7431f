"""Measure how well decoders give back pictures that training never saw.

Sixteen pictures, centre crops of 256 px, encoded to each level and decoded: the mean of their peak
signal-to-noise ratios, dB. Beside the decoders that ship (or ``--decoders FILE``), those of the
distilled encoder (Wang et al. 2020) and of the normalized VGG (Li et al. 2017), whose files the
folder DIR holds (default: JAXNST_SHARED; extra ``torch``).

    python scripts/reconstruction_psnr.py --data DIR [--decoders FILE]
"""

import argparse
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from distill import HELD_OUT
from pictures import centre_crop
from reconstruction import given_back, psnr

import jaxnst
from jaxnst.feedforward.decoders import Autoencoder, load_autoencoders, read_autoencoder

PUBLISHED = {
    "distilled": ("vgg19-distilled-16x/{}SE.pth", "vgg19-distilled-16x/{}SD.pth", 5),
    "normalised": (
        "vgg-normalised/vgg_normalised_conv{}_1.pth",
        "vgg-normalised/feature_invertor_conv{}_1.pth",
        3,
    ),
}


def mean_psnr(level: Autoencoder, pictures: list[np.ndarray]) -> float:
    """Return the mean over pictures, dB."""
    one = partial(given_back, level, level.encoder.params, level.params)
    return float(np.mean([psnr(one(image), image) for image in pictures]))


def all_decoders(data: Path, decoders: Path | None) -> Iterator[tuple[str, dict[int, Autoencoder]]]:
    """Go through what there is to compare."""
    yield "vgg19-lite", load_autoencoders("vgg19-lite", decoders=decoders)
    for name, (encoder, decoder, count) in PUBLISHED.items():
        paths = [data / "weights" / of for of in (encoder, decoder)]
        levels = range(1, count + 1)
        yield (
            name,
            {n: read_autoencoder(*(str(path).format(n) for path in paths)) for n in levels},
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("JAXNST_SHARED"))
    parser.add_argument("--decoders", type=Path)
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("--data DIR (or JAXNST_SHARED) must name the folder of pictures")
    data = Path(arguments.data)
    folder = data / "pictures/train"
    pictures = [centre_crop(jaxnst.load_image(folder / f"{stem}.jpg"), 256) for stem in HELD_OUT]
    for name, levels in all_decoders(data, arguments.decoders):
        found = (f"{n}: {mean_psnr(levels[n], pictures):.2f}" for n in sorted(levels))
        print(f"{name:<12}", "  ".join(found))


if __name__ == "__main__":
    main()
