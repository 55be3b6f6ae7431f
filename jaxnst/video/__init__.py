"""Repaint films: new pictures, the same sound. Needs PyAV, the extra ``jaxnst[watch]``.

Pictures are painted upright, in batches, uint8 ``(B, H, W, 3)``. The result is MP4 with H.264, in
which every picture keeps its time.
"""

from jaxnst.video.decode import ENDINGS, Film, read_film
from jaxnst.video.encode import ENDING, check_film
from jaxnst.video.repaint import repaint

__all__ = ["ENDING", "ENDINGS", "Film", "check_film", "read_film", "repaint"]
