"""Lines of JSON for every report, on stdout or in a log that other programs may read meanwhile."""

import json
import math
import os
from collections.abc import Mapping
from typing import Any

from jaxnst._files import replace_file


def json_line(facts: Mapping[str, Any]) -> str:
    """Write facts as one line of JSON; a number that is not finite becomes null.

    Example:
      >>> json_line({"losses": {"total": float("inf")}, "steps": 1})
      '{"losses": {"total": null}, "steps": 1}'
    """
    return json.dumps(_finite(facts), allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


class JsonLines:
    """A log that is written line by line, and continued by a run that resumes.

    The first line that is written removes from an older log the lines of work that is going to be
    repeated: so a run that was stopped, or killed after its last checkpoint, leaves every line
    once. ``count`` is the key under which a line has the number of steps done.
    """

    def __init__(self, path: str, count: str) -> None:
        self.path, self.count, self.begun = path, count, False

    def add(self, line: Mapping[str, Any], *, done: int) -> None:
        """Write a line; the first removes older lines of more than ``done`` steps, with 0 all.

        Raises:
          OSError: It cannot be written.
        """
        if not self.begun:
            older: list[bytes] = []
            if done and os.path.exists(self.path):
                with open(self.path, "rb") as file:
                    older = [old for old in file if old.endswith(b"\n") and self._is_of(old, done)]
            replace_file(self.path, b"".join(older))
            self.begun = True
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json_line(line) + "\n")

    def _is_of(self, line: bytes, done: int) -> bool:
        """Return whether a line is of the first steps; those of something else are not."""
        try:
            return bool(json.loads(line)[self.count] <= done)
        except (KeyError, TypeError, ValueError, RecursionError):
            return False
