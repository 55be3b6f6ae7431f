"""Style transfer in one pass: no loop, networks alone."""
