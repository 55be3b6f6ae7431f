"""Check files that no other tool looks at: their size, their whitespace, their TOML.

    python scripts/check_files.py FILE ...

Only parameters of a bundled network may be large, and only up to what the wheel can bear.
"""

import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

# Bytes, by the first pattern that matches.
LIMITS = (
    ("weights/*.safetensors", 8_000_000),
    ("docs/*", 1_000_000),
    ("examples/*", 1_000_000),
    ("*", 300_000),
)


def main() -> int:
    problems = [f"{name}: {text}" for name in sys.argv[1:] for text in check(Path(name))]
    print(*problems, sep="\n", end="\n" if problems else "")
    return 1 if problems else 0


def check(path: Path) -> Iterator[str]:
    """Yield what is wrong with a file, given relative to the repository's root."""
    if path.is_symlink() or not path.is_file():  # a link, or deleted and not yet committed
        return
    limit = next(limit for pattern, limit in LIMITS if _matches(path, pattern))
    size = path.stat().st_size
    if size > limit:
        yield f"{size:,} bytes, expected at most {limit:,}: make it smaller or keep it elsewhere"
        return
    data = path.read_bytes()
    if b"\0" in data:
        return
    yield from _text(data)
    if path.suffix == ".toml":
        try:
            tomllib.loads(data.decode())
        except ValueError as error:
            yield f"not valid TOML: {error}"


def _matches(path: Path, pattern: str) -> bool:
    folder, _, name = pattern.rpartition("/")
    return path.match(name) and (not folder or path.parts[0] == folder)


def _text(data: bytes) -> Iterator[str]:
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        yield f"neither UTF-8 nor binary: {error.reason} at byte {error.start}"
        return
    for number, line in enumerate(text.split("\n"), 1):
        if line != line.rstrip():
            yield f"line {number}: white space at the end (or a carriage return)"
        if line.startswith(("<<<<<<< ", ">>>>>>> ")):
            yield f"line {number}: left over from a merge"
    if text and text != text.rstrip("\n") + "\n":
        yield "expected one line break at the end, not none nor several"


if __name__ == "__main__":
    sys.exit(main())
