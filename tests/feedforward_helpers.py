"""Small transformation networks with random parameters, and films to be painted by them."""

import struct
from fractions import Fraction

import jax.numpy as jnp
import numpy as np

from jaxnst.feedforward import Model, TransformationNetwork
from jaxnst.video import read_film, repaint

SMALL = TransformationNetwork(widths=(4, 8, 8), blocks=2)


def parameters(module, seed=0):
    """Random parameters of every kind, none of them at its start value."""
    rng, found = np.random.default_rng(seed), {}
    for name, shape in module.shapes().items():
        layer, part = name.split("/")
        values = rng.normal(0, 0.3, shape)
        if part == "kernel":
            values *= 4 / np.sqrt(np.prod(shape[:-1]))
        if part in ("gamma", "variance"):
            values = 1 + np.abs(values)
        found.setdefault(layer, {})[part] = jnp.asarray(values, jnp.float32)
    return found


def model(name="small", **changes):
    module = SMALL.clone(**changes)
    return Model(name, module, parameters(module), {"style": "random numbers"})


def write_film(
    path,
    *,
    count=6,
    size=(32, 40),
    rate=10,
    kind=None,
    sound="aac",
    hertz=16000,
    layout="mono",
    seconds=None,
    pause=0,
    times=None,
    options=None,
    pixels="yuv420p",
    aspect=None,
):
    """A film of a red square on gradients that become bluer; times in milliseconds.

    Its tone is as long as the pictures, or ``seconds``, with a pause half-way, also in seconds.
    """
    import av

    with av.open(str(path), "w", format=kind, options=options or {}) as film:
        stream = film.add_stream("libx264", rate=rate)
        stream.height, stream.width = size
        stream.pix_fmt = pixels
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        if times:
            stream.codec_context.time_base = Fraction(1, 1000)
        heard = film.add_stream(sound, rate=hertz, layout=layout) if sound else None
        for i in range(count):
            frame = av.VideoFrame.from_ndarray(film_picture(i, size), format="rgb24")
            if times:
                frame.pts, frame.time_base = times[i], Fraction(1, 1000)
            film.mux(stream.encode(frame))
        film.mux(stream.encode(None))
        if heard:
            at = np.arange(round(hertz * (seconds or count / rate))) / hertz
            tone = np.int16(8000 * np.sin(2 * np.pi * 440 * at))
            for half, values in enumerate(np.array_split(tone, 2)):
                values = values.repeat(heard.codec_context.layout.nb_channels)[None]
                samples = av.AudioFrame.from_ndarray(values, format="s16", layout=layout)
                samples.sample_rate = hertz
                samples.pts = half * ((len(tone) + 1) // 2 + round(hertz * pause))
                film.mux(heard.encode(samples))
            film.mux(heard.encode(None))


def film_picture(i, size):
    y, x = np.mgrid[: size[0], : size[1]]
    picture = np.stack([4 * x, 4 * y, 0 * x + 20 * i], -1).clip(0, 255).astype(np.uint8)
    picture[:8, :8] = 255, 0, 0
    return picture


def negative(source, output, *, batch=4, longest=None):
    """Paint a film in negative; return notices and the batches that were seen."""
    found, seen, told = read_film(source), [], []

    def paint(frames):
        seen.append(frames)
        return 255 - frames

    size = found.fitting(longest)
    notices = repaint(
        source, output, paint, film=found, size=size, batch=batch, on_progress=told.append
    )
    assert told == sorted(told) and len(told) == len(seen)
    return notices, seen


def read_back(path):
    """Pictures with their times, and seconds of sound."""
    import av

    with av.open(str(path)) as film:
        frames = [
            # Old versions of PyAV look at no tags.
            (f.time, f.to_ndarray(format="rgb24", src_colorspace=f.colorspace, dst_colorspace=5))
            for f in film.decode(video=0)
        ]
    with av.open(str(path)) as film:
        heard = film.decode(audio=0) if film.streams.audio else ()
        seconds = sum(f.samples / f.sample_rate for f in heard)
    return [time for time, _ in frames], np.stack([p for _, p in frames]), seconds


def oriented(data, a, b, c, d):
    """An MP4 file of which (x, y) is to be shown at (a x + c y, b x + d y)."""
    plain = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    first = data.index(plain)  # the film's; the second is the stream's
    at = data.index(plain, first + 1)
    a, b, c, d = (n * (1 << 16) for n in (a, b, c, d))
    matrix = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    return data[:at] + matrix + data[at + len(matrix) :]


def turned(data):
    """An MP4 file whose pictures are to be shown a quarter turn to the right."""
    return oriented(data, 0, 1, -1, 0)
