"""Measure how much of VGG16's feature maps ``vgg16-lite`` explains.

Sixteen pictures that training never saw, center crops of 256 px. For every layer the student's
feature map goes through the probe (a 1x1 convolution) that training left beside the network, and

    EV = 1 - sum of squared errors / sum of squares around each channel's mean in each picture,

both sums over pictures, channels and positions of the teacher's raw feature maps. The teacher
repeats the edges as the student does. ``--painted DIR`` takes pictures that were painted instead.

    python scripts/explained_variance.py --data DIR [--weights FILE] [--painted DIR]
"""

import argparse
import os
from pathlib import Path

import numpy as np
from distill import HELD_OUT, LAYERS
from pictures import centre_crop
from safetensors.numpy import load_file

import jaxnst

ROOT = Path(__file__).resolve().parent.parent


def explained_variance(
    data: Path, student: jaxnst.LossNetwork, probes: dict[str, np.ndarray], pictures: list[Path]
) -> dict[str, float]:
    """Return the explained variance by layer."""
    weights = next((data / "weights/vgg16").glob("*.h5"))
    teacher = jaxnst.load_network("vgg16", weights=weights).configure(padding="edge")
    error, variation = dict.fromkeys(LAYERS, 0.0), dict.fromkeys(LAYERS, 0.0)
    for path in pictures:
        image = jaxnst.load_image(path)
        image = centre_crop(image, min(256, *image.shape[:2]))
        features = jaxnst.extract_features(student, image, LAYERS)
        for name, target in jaxnst.extract_features(teacher, image, LAYERS).items():
            target = np.asarray(target, np.float64)
            kernel, bias = (
                probes[f"{name}/{part}"].astype(np.float64) for part in ("kernel", "bias")
            )
            predicted = np.asarray(features[name], np.float64) @ kernel + bias
            error[name] += np.sum((predicted - target) ** 2)
            variation[name] += np.sum((target - target.mean((0, 1))) ** 2)
    return {name: float(1 - error[name] / variation[name]) for name in LAYERS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("JAXNST_SHARED"))
    parser.add_argument("--weights", type=Path, default=ROOT / "weights/vgg16-lite.safetensors")
    parser.add_argument("--painted", type=Path, help="folder of painted pictures to look at")
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("--data DIR (or JAXNST_SHARED) must name the folder of weights and pictures")
    data, weights = Path(arguments.data), arguments.weights
    probes = load_file(weights.with_name(f"{weights.stem}-probes.safetensors"))
    student = jaxnst.load_network("vgg16-lite", weights=weights)
    pictures = [data / f"pictures/train/{stem}.jpg" for stem in HELD_OUT]
    if arguments.painted:
        pictures = sorted(arguments.painted.glob("*.png"))
    print("| layer | explained variance |\n|---|---|")
    for name, value in explained_variance(data, student, probes, pictures).items():
        print(f"| {name} | {value:.4f} |")


if __name__ == "__main__":
    main()
