"""``scripts/train_decoders.py``: what it refuses before it trains, and what decides a run of it."""

import argparse
import sys
from pathlib import Path

import helpers
import pytest

from jaxnst.feedforward.decoders import BUNDLED, bundled
from jaxnst.image import save_image
from jaxnst.weights import read_parameters, write_parameters

sys.path.append(str(Path(__file__).parents[1] / "scripts"))

import pictures as shared
import train_decoders

SMALL = {"crop": 64, "steps": 10, "batch": 2, "rate": 0.004, "warmup": 1, "seed": 0}
SMALL |= {"feature_weight": 0.01, "down_steps": 5, "down_rate": 0.004, "network": "vgg19-lite"}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """As many pictures as are kept out; one has a side of 256 pixels."""
    folder = tmp_path_factory.mktemp("photos")
    for i in range(shared.HELD_OUT):
        save_image(folder / f"{i}.png", helpers.picture(256 if i == 3 else 80, 256, seed=i))
    return folder


def trainer(photos, **changes):
    given = SMALL | {"images": photos, "held_out": "3", "weights": None, "begin": None}
    given |= {"out": photos.parent, "workers": 0, "levels": "1"}
    return train_decoders.Trainer(argparse.Namespace(**given | changes), None)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"held_out": None}, "16 of 16 pictures are kept out of training, which leaves none: give"),
        ({"held_out": ",".join(map(str, range(16)))}, "16 of 16 pictures .* by --held-out"),
        ({"held_out": "3,tree,sea"}, "--held-out: there is no picture sea, tree"),
        ({"held_out": "1,2"}, "of 2 pictures kept out of training none has 256 pixels on the"),
    ],
)
def test_pictures_that_are_too_few_or_too_small_are_refused_in_one_line(photos, changes, text):
    with pytest.raises(SystemExit, match=text):
        trainer(photos, **changes)


def test_a_run_is_known_by_what_decides_it(photos, tmp_path):
    words = trainer(photos).words
    aside = {"workers": 2, "out": tmp_path / ".." / tmp_path.name, "levels": "1,2"}
    assert trainer(photos, **aside).words == words
    assert trainer(photos, feature_weight=0.1).words != words
    assert trainer(photos, held_out="3,4").words != words

    begin = tmp_path / "begin.safetensors"
    found, metadata = read_parameters(bundled(BUNDLED["vgg19-lite"]))
    metadata.pop("format", None)
    seen = [words]
    for factor in (1, 2):
        changed = {name: factor * values for name, values in found.items()}
        write_parameters(begin, changed, metadata=metadata)
        seen.append(trainer(photos, begin=begin).words)
    assert len({word["begin"] for word in seen}) == 3
