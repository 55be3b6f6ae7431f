"""Render the six standard pairs with this checkout and with another commit, side by side.

    python scripts/compare_pairs.py --data DIR --base HEAD~3 -o sheet.png

The other commit is taken out into a temporary folder and runs from there in its own process, with
its own code and its own bundled network. Without ``--base`` only this checkout is rendered, and
the pictures stay in ``runs/pairs/``. Further arguments after ``--`` go to both runs' command lines.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from pictures import STANDARD_PAIRS, pair_paths

import jaxnst
from jaxnst.report.contact_sheet import contact_sheet

ROOT = Path(__file__).resolve().parent.parent


def render(checkout: Path, data: Path, out: Path, size: int, extra: list[str]) -> list[Path]:
    """Render the pairs with the code in ``checkout``; return the pictures."""
    out.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    made = []
    for pair in STANDARD_PAIRS:
        target = out / f"{pair[0]}-{pair[1]}.png"
        inputs = [str(path) for path in pair_paths(data, pair)]
        command = [sys.executable, "-m", "jaxnst", "run", *inputs, "-o", str(target)]
        command += ["--size", str(size), "--seed", "0", "--quiet", *extra]
        subprocess.run(command, check=True, env=environment, cwd=checkout)
        made.append(target)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("JAXNST_SHARED"))
    parser.add_argument("--base", help="commit to compare with")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("-o", "--out", type=Path, default=ROOT / "runs/pairs.png")
    parser.add_argument("extra", nargs="*", help="arguments for jaxnst-run, after --")
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("--data DIR (or JAXNST_SHARED) must name the folder of pictures")
    data, size, extra = Path(arguments.data), arguments.size, arguments.extra

    columns = [("this checkout", render(ROOT, data, ROOT / "runs/pairs", size, extra))]
    with tempfile.TemporaryDirectory() as folder:
        if arguments.base:
            base = Path(folder) / "base"
            subprocess.run(
                ["git", "worktree", "add", "--detach", str(base), arguments.base],
                check=True,
                cwd=ROOT,
            )
            try:
                made = render(base, data, Path(folder) / "pairs", size, extra)
                columns.insert(0, (arguments.base, made))
                rows = _rows(columns)
            finally:
                subprocess.run(["git", "worktree", "remove", "--force", str(base)], cwd=ROOT)
        else:
            rows = _rows(columns)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    jaxnst.save_image(arguments.out, contact_sheet(rows, height=360))
    print(arguments.out)


def _rows(columns):
    return [
        [(f"{label}: {paths[i].stem}", jaxnst.load_image(paths[i])) for label, paths in columns]
        for i in range(len(STANDARD_PAIRS))
    ]


if __name__ == "__main__":
    main()
