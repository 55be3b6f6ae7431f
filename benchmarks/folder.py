"""``jaxnst batch`` over a folder: how much time goes to anything but painting.

Forty pairs at 256 px as one process with a warm compilation cache. Painting is what the log says
that each batch took on the device; the rest is starting, loading, tracing, reading and writing.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

import jaxnst
from benchmarks.growth import picture
from benchmarks.measure import Row, timed
from benchmarks.process import process

CONTENTS, STYLES, LANES, SIZE = 8, 5, 8, 256
BAR = 0.05


def run(*, quick: bool) -> list[Row]:
    """Time the command once."""
    contents, size = (2, 64) if quick else (CONTENTS, SIZE)
    lanes = min(LANES, contents)
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind, count in (("contents", contents), ("styles", STYLES)):
            (folder / kind).mkdir()
            for i in range(count):
                jaxnst.save_image(str(folder / kind / f"{i}.png"), picture(rng, size))
        command = [sys.executable, "-m", "jaxnst", "batch", "--quiet", "--at-once", str(lanes)]
        command += ["--contents", str(folder / "contents"), "--styles", str(folder / "styles")]
        command += ["--out", str(folder / "out"), "--size", str(size)]
        environment = {"JAX_COMPILATION_CACHE_DIR": str(folder / "cache")}
        process([*command, "--steps", "3"], **environment)
        shutil.rmtree(folder / "out")
        whole = timed(lambda: process(command, **environment))
        log = (folder / "out" / "results.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in log.splitlines()]
    painting = sum(row["seconds"] / row["lanes"] for row in rows)
    case = f"jaxnst batch, {len(rows)} pairs, {size} px"
    return [
        Row(
            benchmark="folder",
            case=case,
            what="time beyond painting / painting",
            seconds=(whole - painting,),
            ratio=(whole - painting) / painting,
            bar=None if quick else BAR,
        ),
        Row(benchmark="folder", case=case, what="whole process", seconds=(whole,)),
    ]
