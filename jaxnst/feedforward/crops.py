"""Training pictures: an endless sequence of batches of random crops of a folder's pictures.

Batch number i depends on the pictures, the settings and i alone, so a training run resumes by
starting at its step. Files are decoded by threads of this process or by worker processes (grain),
which never use a JAX device. Crops are uint8 until they are on the device.
"""

import contextlib
import math
import multiprocessing
import os
import signal
import threading
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from jaxnst._files import AnyPath, name_of
from jaxnst.feedforward.settings import Training
from jaxnst.image import READ_ENDINGS, image_size, load_with_notices, resize
from jaxnst.image.color import Pixels

PREFETCHED = 4
"""Batches that every process prepares in advance."""

MAX_TRIES = 100
"""Most pictures that are tried in turn in place of one that cannot be read."""

MAX_CROPS = 2**60
"""Practically endless; grain's lengths are 64-bit numbers."""

MIN_SIDE = 0.5
"""Least shorter side of a picture, as a share of the crop's side. Smaller pictures are left out;
others below the crop's side are enlarged."""

TERMINAL_SIGNALS = {signal.SIGINT, getattr(signal, "SIGHUP", signal.SIGINT)}
"""Signals that a terminal sends to all of its processes."""


@dataclass(frozen=True)
class Pictures:
    """The pictures of a folder.

    Attributes:
      folder: Its path.
      names: Paths of the pictures relative to it, with ``/`` between folders, in order.
      sizes: Of the files, bytes.
      broken: Why files cannot be read, a line each; they are left out.
      small: Number of pictures that are left out because they are too small.
      others: Endings of the files of other kinds, one for each file.
    """

    folder: str
    names: tuple[str, ...]
    sizes: tuple[int, ...] = field(repr=False)
    broken: tuple[str, ...] = ()
    small: int = 0
    others: tuple[str, ...] = field(default=(), repr=False)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def digest(self) -> str:
        """SHA-256 of names and sizes, which decide the crops."""
        lines = (f"{size} {name}\n" for name, size in zip(self.names, self.sizes, strict=True))
        return sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()

    def path(self, index: int) -> str:
        """Return the path of a picture."""
        return os.path.join(self.folder, *self.names[index].split("/"))

    def left_out(self, side: int) -> Iterator[str]:
        """Describe the pictures that are left out of crops of a side, a line for each reason."""
        if self.broken:
            more = f" (and {len(self.broken) - 1} more like it)" if len(self.broken) > 1 else ""
            yield f"left out: {self.broken[0]}{more}"
        if self.small:
            yield (
                f"left out: {self.small} of {self.small + len(self)} pictures, whose shorter side "
                f"is less than half of the crops' {side} pixels"
            )

    def hold_out(self, count: int) -> tuple["Pictures", "Pictures"]:
        """Divide them into those to train on and ``count`` others, evenly spaced."""
        step = max(1, len(self) // max(1, count))
        out = set(range(step // 2, len(self), step)[:count])
        return self.only(set(range(len(self))) - out), self.only(out)

    def only(self, numbers: set[int]) -> "Pictures":
        """Return some of them, given by their numbers."""
        names = tuple(self.names[i] for i in sorted(numbers))
        return replace(self, names=names, sizes=tuple(self.sizes[i] for i in sorted(numbers)))


def find_pictures(folder: AnyPath, *, side: int, without: Collection[AnyPath] = ()) -> Pictures:
    """List the pictures of a folder and its subfolders, by the endings of their names.

    Only headers are read: files that are not pictures are left out, and so are pictures that are
    too small. Damage after the header is noticed when a file is decoded (:func:`batches`).

    Args:
      folder: Its path. Hidden files and folders are skipped.
      side: Side of the crops, pixels: the shorter side of a picture must have at least half of it.
      without: Files and folders to skip, such as those that the training run writes.

    Raises:
      FileNotFoundError: The folder does not exist.
      NotADirectoryError: It is a file.
      ValueError: It holds no usable picture.
    """
    root, name = os.fspath(folder), name_of(folder)
    if not os.path.exists(root):
        raise FileNotFoundError(f"folder {name} does not exist: check the name")
    if not os.path.isdir(root):
        raise NotADirectoryError(f"{name} is a file, expected a folder of pictures")
    names, sizes, broken, others, small = list[str](), list[int](), list[str](), list[str](), 0
    for path in _files_in(root, {os.path.realpath(path) for path in without}):
        if (ending := os.path.splitext(path)[1].lower()) not in READ_ENDINGS:
            others.append(ending)
            continue
        try:
            if min(image_size(path)) < MIN_SIDE * side:
                small += 1
                continue
        except (OSError, ValueError) as error:
            broken.append(str(error))
            continue
        names.append(os.path.relpath(path, root).replace(os.sep, "/"))
        sizes.append(os.path.getsize(path))
    if names:
        return Pictures(root, tuple(names), tuple(sizes), tuple(broken), small, tuple(others))
    if not broken and not small:
        raise ValueError(
            f"{name} and its subfolders hold no pictures ({', '.join(READ_ENDINGS)}): give another "
            "folder"
        )
    why = [f"{len(broken)} cannot be read"] if broken else []
    least = math.ceil(MIN_SIDE * side)
    why += [f"{small} have fewer than {least} pixels on the shorter side"] if small else []
    raise ValueError(
        f"{name} holds no picture for crops of {side} pixels: of {len(broken) + small}, "
        f"{' and '.join(why)}; give another folder or a smaller crop"
    )


def _files_in(root: str, without: Collection[str]) -> Iterator[str]:
    """List the files of a folder and its subfolders, in the same order on every system."""
    for folder, inner, files in os.walk(root):
        for names in (inner, files):
            paths = {name: os.path.realpath(os.path.join(folder, name)) for name in names}
            names[:] = sorted(n for n in names if n[0] != "." and paths[n] not in without)
        yield from (os.path.join(folder, name) for name in files)


class Batch(NamedTuple):
    """Crops.

    Attributes:
      images: ``(B, side, side, 3)`` RGB, 0 to 255.
      broken: For each crop, the number of the picture that could not be decoded and was replaced
        by another, or -1.
    """

    images: NDArray[np.uint8]
    broken: NDArray[np.int64]


def random_crop(picture: Pixels, side: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Cut a random square out of a picture, resize it, and mirror it every other time.

    The square's side is between the crop's and the picture's shorter side, uniform on a logarithmic
    scale. A picture smaller than the crop is enlarged. Pictures are ``(H, W, 3)`` RGB in [0, 1],
    crops from 0 to 255.
    """
    height, width = picture.shape[:2]
    shorter = min(height, width)
    scale, down, right, mirrored = rng.random(4)
    edge = shorter * (min(side, shorter) / shorter) ** scale
    top, left = down * (height - edge), right * (width - edge)
    crop = resize(picture, (side, side), box=(top, left, top + edge, left + edge))
    crop = crop[:, ::-1] if mirrored < 0.5 else crop
    return np.rint(np.clip(crop, 0, 1) * 255).astype(np.uint8)


@dataclass(frozen=True)
class _Cut:
    """Makes a crop of the picture of a number; sent to the worker processes."""

    pictures: Pictures
    side: int

    def __call__(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """Decode the picture, or else the next one that can be decoded, and cut a crop."""
        tries = min(MAX_TRIES, len(self.pictures))
        for i in range(tries):
            try:
                path = self.pictures.path((index + i) % len(self.pictures))
                picture = load_with_notices(path).image
            except (OSError, ValueError) as error:
                failure = error
                continue
            broken = np.int64(index if i else -1)
            return {"images": random_crop(picture, self.side, rng), "broken": broken}
        raise ValueError(f"none of {tries} pictures in a row can be read: {failure}")


def batches(
    pictures: Pictures, settings: Training, *, start: int = 0, workers: int = 0
) -> Iterator[Batch]:
    """Cut batches of random crops, endlessly, from every picture once per round.

    Args:
      pictures: From :func:`find_pictures`.
      settings: Crops in each batch, their side, and the seed.
      start: Number of the first batch.
      workers: Processes that decode and cut; 0: threads of this one. The batches are the same.
        A program that uses workers must be importable without side effects
        (``if __name__ == "__main__":``), since they are spawned rather than forked.

    Yields:
      Batches, prepared in advance. Closing the iterator ends the workers.

    Raises:
      ModuleNotFoundError: grain is missing.
      ValueError: A hundred pictures in a row, or all, cannot be decoded.
    """
    try:
        import grain
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("training needs grain: pip install 'jaxnst[train]'") from error

    rounds = MAX_CROPS // len(pictures)
    numbers = grain.MapDataset.range(len(pictures)).seed(settings.seed).shuffle().repeat(rounds)
    crops = numbers.random_map(_Cut(pictures, settings.crop)).batch(settings.batch)[start:]
    threads = grain.ReadOptions(num_threads=2, prefetch_buffer_size=PREFETCHED)
    endless = crops.to_iter_dataset(threads)
    if workers:
        from absl import flags

        flags.FLAGS.mark_as_parsed()  # grain reads them, even if absl does not parse the arguments
        # Shared memory would outlive a process that is killed, and is scarce in containers.
        plain = grain.experimental.DatasetOptions(min_shm_size=2**62)
        endless = grain.experimental.WithOptionsIterDataset(endless, plain)
        options = grain.MultiprocessingOptions(workers, per_worker_buffer_size=PREFETCHED)
        endless = endless.mp_prefetch(options, worker_init_fn=_begin_worker)
    iterator = iter(endless)
    try:
        with _blocked_signals():
            first = next(iterator)  # starts the workers
        yield Batch(**first)
        for crops in iterator:
            yield Batch(**crops)
    finally:
        iterator.close()


@contextlib.contextmanager
def _blocked_signals() -> Iterator[None]:
    """Block the terminal's signals, also in processes that are started in the meantime."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, TERMINAL_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin_worker(_: int, __: int) -> None:
    """Ignore the terminal's signals, which the parent process handles, and exit when it exits."""
    for number in TERMINAL_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
            os._exit(0)

    threading.Thread(target=follow, daemon=True).start()
