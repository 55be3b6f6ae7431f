"""Frames and the files that are made of them."""

import helpers
import numpy as np
import pytest
from PIL import Image

from jaxnst.report import animation
from jaxnst.report.animation import as_frame, save_animation


def frames(count, size=(30, 40)):
    """Gray pictures, each lighter than the one before."""
    return [np.full((*size, 3), 20 * i, np.uint8) for i in range(1, count + 1)]


def decoded(path):
    """Every frame with its duration in milliseconds."""
    with Image.open(path) as picture:
        images = []
        for i in range(picture.n_frames):
            picture.seek(i)
            picture.load()
            images.append((np.asarray(picture.convert("RGB")), picture.info["duration"]))
        return images, picture.info.get("loop")


@pytest.mark.parametrize("ending", [".gif", ".webp"])
def test_all_frames_are_there_and_the_last_is_held(tmp_path, ending):
    path = tmp_path / f"a{ending}"
    save_animation(path, frames(5), rate=10, hold=1.5)
    images, loop = decoded(path)
    assert [f.shape for f, _ in images] == [(30, 40, 3)] * 5 and loop == 0
    assert [duration for _, duration in images] == [100] * 4 + [1500]
    for (frame, _), before in zip(images, frames(5), strict=True):
        np.testing.assert_allclose(frame, before.astype(float), atol=3)


def test_a_gif_has_the_colors_of_each_frame(tmp_path):
    originals = [as_frame(helpers.picture(40, 60, seed=i)) for i in range(2)]
    save_animation(tmp_path / "a.gif", originals)
    for before, (frame, _) in zip(originals, decoded(tmp_path / "a.gif")[0], strict=True):
        assert np.abs(frame.astype(float) - before).mean() < 8  # 2400 colors by 256


def test_mp4_is_what_players_show(tmp_path):
    av = pytest.importorskip("av", reason="needs PyAV: pip install av")
    save_animation(tmp_path / "a.mp4", frames(5), rate=10, hold=1.5)
    with av.open(tmp_path / "a.mp4") as container:
        stream = container.streams.video[0]
        images = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert float(stream.average_rate) == 10
    assert len(images) == 5 + 15 and images[0].shape == (30, 40, 3)
    for before, frame in zip(frames(5), images[:5], strict=True):
        np.testing.assert_allclose(frame, before.astype(float), atol=4)
    np.testing.assert_allclose(images[-1], frames(5)[-1].astype(float), atol=4)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((30, 40), (30, 40)), ((31, 41), (30, 40)), ((600, 900), (340, 512)), ((3, 900), (2, 512))],
)
def test_frames_are_bounded_and_even(size, expected):
    frame = as_frame(np.full((*size, 3), 0.5, np.float32))
    assert frame.shape == (*expected, 3) and frame.dtype == np.uint8
    assert (frame == 128).all()


def test_what_is_transparent_is_white():
    cut = np.zeros((4, 6, 4), np.float32)
    cut[..., 3] = np.linspace(0, 1, 6)
    expected = np.rint(255 * (1 - cut[..., 3:])).repeat(3, 2)
    np.testing.assert_array_equal(as_frame(cut), expected)


def test_what_cannot_be_written_is_refused(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"expected one of \.gif, \.webp, \.mp4"):
        save_animation(tmp_path / "a.avi", frames(2))
    with pytest.raises(ValueError, match="2 sizes"):
        save_animation(tmp_path / "a.gif", [*frames(1), *frames(1, (32, 40))])
    with pytest.raises(ValueError, match="0 sizes, expected one frame or more"):
        save_animation(tmp_path / "a.gif", [])
    with pytest.raises(FileNotFoundError):
        animation.check_animation(tmp_path / "no" / "a.gif")
    monkeypatch.setattr(animation, "find_spec", lambda _: None)
    animation.check_animation(tmp_path / "a.webp")
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'jaxnst\[watch\]'"):
        animation.check_animation(tmp_path / "a.mp4")
    assert not list(tmp_path.iterdir())
