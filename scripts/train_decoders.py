"""Train decoders for a loss network: from its feature maps back to the picture.

A decoder of level L mirrors the network from relu{L}_1 (Li et al. 2017, section 3.1). It learns to
give back what the network saw, by the paper's loss, here of mean squares:

    |image - picture|^2 + weight * |features(image) - features(picture)|^2 / |features(picture)|^2

Levels are trained one after the other, shallow to deep. A decoder begins with the layers of the one
before, and what leads to them learns by itself first, to give the features that they start from.
Then all of it is trained, the deeper the slower: at a larger rate, or from random layers, a decoder
of level 5 stays 5 dB below. That of level 1 begins with the best that a single convolution can do,
which is solved for, behind another that changes nothing yet.

    python scripts/train_decoders.py --images DIR --out runs/decoders

``OUT/decoders.safetensors`` (float16) is what ``jaxnst instant --decoders`` reads; levels that a
run does not train stay as they are in it, and are begun with. ``OUT/samples{L}.png`` shows pictures
that training never sees, given back. Checkpoints are in ``OUT/level{L}``: started again with the
same settings, the run goes on. Needs the extra ``train``.
"""

import argparse
import os
import sys
from pathlib import Path

from decoder_training import OF_TRAINING, Trainer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from jaxnst.feedforward.settings import Training


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--images", type=Path, required=True, help="folder of training pictures")
    parser.add_argument("--network", default="vgg19-lite", help="a VGG")
    parser.add_argument("--weights", help="its parameters, if they do not ship with jaxnst")
    parser.add_argument("--levels", default="1,2,3,4,5")
    parser.add_argument("--begin", type=Path, help="file of decoders; its levels are trained on")
    parser.add_argument(
        "--feature-weight", type=float, default=0.01, help="in the loss; less: better pixels"
    )
    parser.add_argument("--down-steps", type=int, default=1200, help="of what leads a level down")
    parser.add_argument("--down-rate", type=float, default=4e-3)
    parser.add_argument("--held-out", help="names of pictures kept out, without endings: A,B,...")
    parser.add_argument("--out", type=Path, default=Path("runs/decoders"))
    parser.add_argument("--workers", type=int, default=0)
    defaults = Training(rate=4e-3, warmup=100)
    for name in OF_TRAINING:
        value = getattr(defaults, name)
        about = "of level 2; the others have less" if name == "rate" else None
        parser.add_argument(f"--{name}", type=type(value), default=value, help=about)
    arguments = parser.parse_args()
    os.makedirs(arguments.out, exist_ok=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, disable=not sys.stdout.isatty()) as progress:
        trainer = Trainer(arguments, progress)
        for level in sorted(int(level) for level in arguments.levels.split(",")):
            trainer.level(level)
    print(trainer.path)


if __name__ == "__main__":
    main()
