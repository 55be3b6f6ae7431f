"""Films: their pictures changed, their sound kept. By PyAV, the extra ``jaxnst[watch]``.

Pictures are handed over upright, in batches, uint8 ``(B, H, W, 3)``, and come back in the same
size. What is written is MP4 with H.264, every picture at the time that it had.
"""

from jaxnst.video.reading import ENDINGS, Film, read_film
from jaxnst.video.repainting import repaint
from jaxnst.video.writing import ENDING, check_film

__all__ = ["ENDING", "ENDINGS", "Film", "check_film", "read_film", "repaint"]
