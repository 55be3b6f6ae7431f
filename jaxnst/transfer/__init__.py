"""Style transfer by optimization: from pictures to the result, and all that a run needs."""
