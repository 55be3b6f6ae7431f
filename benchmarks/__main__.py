"""Run the benchmarks, print one table, write the records."""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import jax
from rich.console import Console
from rich.table import Table

from benchmarks import (
    apply,
    batch,
    compile,
    folder,
    gpu,
    growth,
    instant,
    iteration,
    memory,
    process,
    quality,
    roots,
    seams,
    step,
)
from benchmarks.measure import COLUMNS, Row, load, load_warning, machine, stolen

BENCHMARKS = {
    "step": step,
    "iteration": iteration,
    "compile": compile,
    "roots": roots,
    "process": process,
    "batch": batch,
    "folder": folder,
    "memory": memory,
    "growth": growth,
    "instant": instant,
    "apply": apply,
    "quality": quality,
    "seams": seams,
    "gpu": gpu,
}
RESULTS = Path(__file__).parent / "results"


def main() -> None:
    arguments = _parse()
    jax.config.update("jax_enable_compilation_cache", False)  # compiling is among what is timed
    about: dict[str, Any] = {**machine(), "quick": arguments.quick, "load_before": load()}
    print(_heading(about), flush=True)
    if warning := load_warning(about["load_before"]):
        print(warning, file=sys.stderr, flush=True)

    stolen_before, begin = stolen(), time.perf_counter()
    rows: dict[str, list[Row]] = {}
    for name in arguments.only or BENCHMARKS:
        print(f"{name} ...", flush=True)
        rows[name] = BENCHMARKS[name].run(quick=arguments.quick)
    about["load_after"] = load()
    if stolen_before is not None and (stolen_after := stolen()) is not None:
        seconds = (time.perf_counter() - begin) * (about["cores"] or 1)
        about["stolen"] = (stolen_after - stolen_before) / seconds
        print(f"the machine's host gave {about['stolen']:.0%} of the cores' time to others")
    _print_table([row for several in rows.values() for row in several])

    records = {name: [row.record() for row in several] for name, several in rows.items()}
    if arguments.json is not None:
        _write(arguments.json, {"machine": about, **records})
    elif arguments.quick:
        print("quick: sizes are too small to mean anything, so nothing was recorded")
    else:
        for name, record in records.items():
            _write(RESULTS / f"{name}.json", {"machine": about, name: record})


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--only", metavar="NAME", action="append", choices=BENCHMARKS, help=", ".join(BENCHMARKS)
    )
    parser.add_argument(
        "--quick", action="store_true", help="small and few: to see that they work, not how fast"
    )
    parser.add_argument(
        "--json",
        metavar="FILE",
        type=Path,
        help=f"write everything there instead of to {RESULTS.parent.name}/{RESULTS.name}/NAME.json",
    )
    return parser.parse_args()


def _heading(about: dict[str, Any]) -> str:
    versions = about["versions"]
    cpu = f"{about['cpu']}, {about['cores']} cores"
    torch = f", PyTorch {versions['torch']}" if versions["torch"] else ""
    busy = "unknown" if about["load_before"] is None else f"{about['load_before']:.2f}"
    return f"{about['device']}; {cpu}; JAX {versions['jax']}{torch}; load average {busy}"


def _print_table(rows: list[Row]) -> None:
    table = Table(*COLUMNS)
    for row in rows:
        table.add_row(*row.cells())
    # As wide as it needs to be: a log has no columns to fit into.
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def _write(path: Path, record: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(path)


if __name__ == "__main__":
    main()
