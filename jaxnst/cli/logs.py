"""Logs: a line of JSON for everything that is told, which others may read meanwhile."""

import json
import os
from collections.abc import Mapping
from typing import Any

from jaxnst._files import replace_file


class JsonLines:
    """A log that is written line by line, and gone on with.

    Of a log that is there, lines of what was done before the first that is written are kept: so a
    run that was stopped, or killed after what no checkpoint has, leaves everything once.

    Args:
      path: Its file.
      count: What its lines count.
    """

    def __init__(self, path: str, count: str) -> None:
        self.path, self.count, self.begun = path, count, False

    def add(self, line: Mapping[str, Any], *, done: int) -> None:
        """Write a line.

        Args:
          line: What it says.
          done: What had been done when this began; lines of more are not kept, and with 0 none is.

        Raises:
          OSError: It cannot be written.
        """
        if not self.begun:
            replace_file(self.path, b"".join(self.until(done)))
            self.begun = True
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line, allow_nan=False) + "\n")

    def until(self, done: int) -> list[bytes]:
        """Read the lines that count no more."""
        if done == 0 or not os.path.exists(self.path):
            return []
        with open(self.path, "rb") as file:
            return [line for line in file if line.endswith(b"\n") and self.counts(line, done)]

    def counts(self, line: bytes, done: int) -> bool:
        """Tell whether a line counts no more; those of something else do not."""
        try:
            return bool(json.loads(line)[self.count] <= done)
        except (KeyError, TypeError, ValueError, RecursionError):
            return False
