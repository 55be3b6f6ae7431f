"""``python -m jaxnst`` is the command ``jaxnst``."""

import sys

from jaxnst.cli import main

if __name__ == "__main__":
    sys.exit(main())
