"""Time to quality: neural-style in PyTorch against jaxnst's default recipe, pictures judged.

Both are whole processes, from the start to the picture on disk, compiling included. The pictures
are compared by the genuine VGG16, as ``scripts/judge.py`` does: our time counts where style and
content are both at least as good as PyTorch's after 500 evaluations.

With our default weight the picture is more painting and less photograph than neural-style's, so a
smaller one is given: both numbers can be compared then.
"""

import importlib.util
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

import jaxnst
from benchmarks.measure import Row, timed
from benchmarks.painters import flat
from benchmarks.process import ROOT, process

SIZE, EVALUATIONS = 512, 500
STYLE_WEIGHT = "3"
BARS = {"vgg16": 1 / 4, "vgg16-lite": 1 / 20}


def run(*, quick: bool) -> list[Row]:
    """Paint one standard pair by each, and judge the pictures."""
    data = os.environ.get("JAXNST_SHARED")
    if data is None or importlib.util.find_spec("torch") is None:
        note = "needs PyTorch, and JAXNST_SHARED with the genuine VGG16"
        return [Row(benchmark="quality", case="time to quality", what="not measured", note=note)]
    size, evaluations = (64, 3) if quick else (SIZE, EVALUATIONS)
    with tempfile.TemporaryDirectory() as folder:
        return _rows(Path(data), Path(folder), size, evaluations, quick)


def _rows(data: Path, folder: Path, size: int, evaluations: int, quick: bool) -> list[Row]:
    sys.path.append(str(ROOT / "scripts"))
    from judge import Judge
    from pictures import STANDARD_PAIRS, pair_paths

    judge = Judge(data)
    content, style = pair_paths(data, STANDARD_PAIRS[0])
    weights = next((data / "weights/vgg16").glob("*.h5"))
    network = jaxnst.load_network("vgg16", weights=weights)
    parameters = {key: np.asarray(value) for key, value in flat(network.params).items()}
    save_file(parameters, folder / "vgg16.safetensors")
    job = {
        "weights": str(folder / "vgg16.safetensors"),
        "content": str(content),
        "style": str(style),
        "size": size,
        "evaluations": evaluations,
        "output": str(folder / "torch.png"),
    }
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
    ours = [sys.executable, "-m", "jaxnst", "run", str(content), str(style), "--quiet"]
    ours += ["--size", str(size), "--style-weight", STYLE_WEIGHT, "-o"]
    genuine = ["--network", "vgg16", "--weights", str(weights)]
    commands = {
        "torch": [sys.executable, "-m", "benchmarks.torch_neural_style", str(folder / "job.json")],
        "vgg16-lite": [*ours, str(folder / "vgg16-lite.png")],
    }
    if not quick:
        commands["vgg16"] = [*ours, str(folder / "vgg16.png"), *genuine]
    rows: list[Row] = []
    seconds: dict[str, float] = {}
    numbers: dict[str, dict[str, float]] = {}
    for name, command in commands.items():
        cache = str(folder / f"cache-{name}")  # its own, empty at first: compiling is included
        seconds[name] = timed(lambda c=command, k=cache: process(c, JAX_COMPILATION_CACHE_DIR=k))
        pictures = (jaxnst.load_image(p) for p in (folder / f"{name}.png", content, style))
        judged = numbers[name] = judge(*pictures)
        behind = [k for k in ("style", "content") if judged[k] > numbers["torch"][k]]
        note = f"style {judged['style']:.3f}, content {judged['content']:.3f}"
        details: dict[str, Any] = {"evaluations": evaluations} if name == "torch" else {}
        rows.append(
            Row(
                benchmark="quality",
                case=f"{content.stem} by {style.stem}, {size} px, whole process, cold",
                what=f"neural-style, {evaluations} evaluations" if name == "torch" else name,
                seconds=(seconds[name],),
                ratio=None if name == "torch" else seconds[name] / seconds["torch"],
                bar=None if quick or behind else BARS.get(name),
                note=note + (f"; {' and '.join(behind)} not as good" if behind else ""),
                details=details | judged,
            )
        )
    return rows
