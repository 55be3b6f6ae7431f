"""Measure how much of its teachers' feature maps ``vgg19-lite`` explains.

Sixteen pictures that training never saw, centre crops of 256 px. For every layer the student's
feature map goes through the probe (a 1x1 convolution) that training left beside the network, and

    EV = 1 - sum of squared errors / sum of squares around each channel's mean in each picture,

both sums over pictures, channels and inner positions of the teacher's raw feature maps; the
border positions, where the paddings of the networks differ, are left out.

    python scripts/explained_variance.py --data DIR [--weights FILE --probes FILE]
"""

import argparse
import os
from pathlib import Path

import numpy as np
from distill import BORDER, HELD_OUT, LAYERS
from pictures import centre_crop
from safetensors.numpy import load_file
from teachers import encoder_5se, genuine_vgg19

import jaxnst

ROOT = Path(__file__).resolve().parent.parent
FLOOR = (0.975, 0.86, 0.69, 0.79, 0.70, 0.65)


def inner(features: np.ndarray) -> np.ndarray:
    """Leave out the border positions."""
    return np.asarray(features, np.float64)[BORDER:-BORDER, BORDER:-BORDER]


def explained_variance(
    data: Path, student: jaxnst.LossNetwork, probes: dict[str, np.ndarray]
) -> dict[str, float]:
    """Return the explained variance by layer."""
    teachers = (genuine_vgg19(data), LAYERS[:3]), (encoder_5se(data), LAYERS[3:])
    error, variation = dict.fromkeys(LAYERS, 0.0), dict.fromkeys(LAYERS, 0.0)
    for stem in HELD_OUT:
        image = jaxnst.load_image(data / f"pictures/train/{stem}.jpg")
        image = centre_crop(image, 256)
        seen = jaxnst.extract_features(student, image, LAYERS)
        for teacher, layers in teachers:
            for name, target in jaxnst.extract_features(teacher, image, layers).items():
                target = inner(target)
                predicted = inner(seen[name]) @ probes[f"{name}/kernel"] + probes[f"{name}/bias"]
                error[name] += np.sum((predicted - target) ** 2)
                variation[name] += np.sum((target - target.mean((0, 1))) ** 2)
    return {name: float(1 - error[name] / variation[name]) for name in LAYERS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("JAXNST_SHARED"))
    parser.add_argument("--weights", type=Path, default=ROOT / "weights/vgg19-lite.safetensors")
    parser.add_argument("--probes", type=Path, default=None, help="default: beside the weights")
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("--data DIR (or JAXNST_SHARED) must name the folder of teachers and pictures")
    weights = arguments.weights
    probes = arguments.probes or weights.with_name("vgg19-lite-probes.safetensors")
    student = jaxnst.load_network("vgg19-lite", weights=weights)
    values = explained_variance(Path(arguments.data), student, load_file(probes))
    print("| layer | explained variance | floor |\n|---|---|---|")
    for (name, value), floor in zip(values.items(), FLOOR, strict=True):
        print(f"| {name} | {value:.4f} | {floor} |{'' if value >= floor else ' below'}")


if __name__ == "__main__":
    main()
