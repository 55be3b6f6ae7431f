"""The README's first command as a whole process, against the same in PyTorch.

From the start of the process to the picture on disk: importing, loading, compiling, painting. With
an empty compilation cache and with one that the run before has filled.
"""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median

import jaxnst
from benchmarks.measure import Row, timed
from benchmarks.peer import setting_of
from jaxnst.image import image_size
from jaxnst.recipes import get_recipe
from jaxnst.transfer.pyramid import make_schedule
from jaxnst.weights import bundled

ROOT = Path(__file__).parent.parent
CONTENT, STYLE = ROOT / "examples" / "content.jpg", ROOT / "examples" / "strokes.jpg"
SIZE = 512
BARS = {"warm": 0.8, "cold": 1.2}


def run(*, quick: bool) -> list[Row]:
    """Time the process, cold and warm, and PyTorch's."""
    size, rounds = (64, 1) if quick else (SIZE, 2)
    with tempfile.TemporaryDirectory() as folder:
        tasks = _tasks(Path(folder), size)
        seconds: dict[str, list[float]] = {name: [] for name in tasks}
        for _ in range(rounds):
            for name, task in tasks.items():
                seconds[name].append(timed(task))
    torch = median(seconds["torch"]) if "torch" in seconds else None
    return [
        Row(
            benchmark="process",
            case=f"default recipe, {size} px, whole process",
            what=name,
            seconds=tuple(several),
            ratio=median(several) / torch if torch and name != "torch" else None,
            bar=BARS.get(name) if torch and not quick else None,
            note="" if torch else "PyTorch is not installed",
        )
        for name, several in seconds.items()
    ]


def _tasks(folder: Path, size: int) -> dict[str, Callable[[], None]]:
    cache = folder / "cache"
    command = [sys.executable, "-m", "jaxnst", "run", str(CONTENT), str(STYLE), "--quiet"]
    command += ["--size", str(size), "-o", str(folder / "ours.png")]

    def warm() -> None:
        process(command, JAX_COMPILATION_CACHE_DIR=str(cache))

    def cold() -> None:
        shutil.rmtree(cache, ignore_errors=True)
        warm()

    tasks = {"cold": cold, "warm": warm}
    if importlib.util.find_spec("torch") is not None:
        job = folder / "job.json"
        job.write_text(json.dumps(_job(folder, size)), encoding="utf-8")
        peer = [sys.executable, "-m", "benchmarks.torch_program", str(job)]
        tasks["torch"] = lambda: process(peer)
    return tasks


def process(command: list[str], **environment: str) -> None:
    """Run a command to its end.

    Raises:
      RuntimeError: If it fails; what it wrote is part of the message.
    """
    everything = {
        **os.environ,
        # So that also the smallest programs are kept.
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        **environment,
    }
    done = subprocess.run(command, cwd=ROOT, env=everything, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{command} ended with {done.returncode}: {done.stderr[-2000:]}")


def _job(folder: Path, size: int) -> dict[str, object]:
    recipe = get_recipe("default")
    content, style = image_size(str(CONTENT)), image_size(str(STYLE))
    schedule = make_schedule(content, [style], recipe.scales, size=size)
    return {
        "setting": setting_of(recipe, jaxnst.load_network("vgg16-lite"))._asdict(),
        "weights": os.fspath(bundled("vgg16-lite.safetensors")),
        "content": str(CONTENT),
        "style": str(STYLE),
        "output": str(folder / "theirs.png"),
        "size": schedule.size,
        "scales": [
            {"size": scale.inner, "style": scale.styles[0], "evaluations": scale.evaluations}
            for scale in schedule.scales
        ],
    }
