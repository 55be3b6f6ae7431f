"""Films: the sound kept, as it is or encoded anew, and in step."""

from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
from feedforward_helpers import negative, read_back, write_film

from jaxnst.video import decode

pytest.importorskip("av", reason="needs PyAV: pip install av")


def heard(path):
    """Times of the pieces of sound, its rate and layout."""
    import av

    with av.open(str(path)) as opened:
        frames = list(opened.decode(audio=0))
    return [frame.time for frame in frames], frames[0].sample_rate, frames[0].layout.name


def pitch(path):
    """Hertz of the tone in the middle of each half."""
    import av

    with av.open(str(path)) as opened:
        frames = list(opened.decode(audio=0))
    tone, rate = np.concatenate([f.to_ndarray()[0] for f in frames]), frames[0].sample_rate
    pitches = []
    for half in np.array_split(tone, 2):
        middle = half[len(half) // 4 : -len(half) // 4]
        spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
        pitches.append(spectrum.argmax() * rate / len(middle))
    return pitches


@pytest.fixture
def output(tmp_path):
    return tmp_path / "out.mp4"


@pytest.mark.parametrize("sound", ["aac", "mp3"])
def test_packets_of_sound_are_passed_on_as_they_are(tmp_path, output, sound):
    import av

    source = tmp_path / "film.mp4"
    write_film(source, sound=sound)
    negative(source, output)
    packets = []
    for path in (source, output):
        with av.open(str(path)) as opened:
            packets.append([bytes(p) for p in opened.demux(audio=0) if p.size])
    assert packets[0] == packets[1] and len(packets[0]) > 3


@pytest.mark.parametrize("name", ["film.mov", "film.mkv"])  # with fine and coarse times
def test_sound_that_mp4_does_not_hold_is_encoded_anew(tmp_path, output, name):
    write_film(tmp_path / name, sound="pcm_s16le")
    assert negative(tmp_path / name, output)[0] == ()
    assert read_back(output)[2] == pytest.approx(0.6, abs=0.2)


@pytest.mark.parametrize(
    ("name", "hertz", "nearest"), [("film.mov", 192000, 96000), ("film.avi", 11127, 11025)]
)
def test_sound_at_a_rate_that_aac_lacks_is_encoded_at_the_nearest(
    tmp_path, output, name, hertz, nearest
):
    write_film(tmp_path / name, sound="pcm_s16le", hertz=hertz)
    assert negative(tmp_path / name, output)[0] == ()
    assert read_back(output)[2] == pytest.approx(0.6, abs=0.2)
    assert heard(output)[1:] == (nearest, "mono")


def test_sound_that_is_encoded_anew_may_change_on_the_way(tmp_path, output):
    parts = b""
    for layout, hertz in (("stereo", 48000), ("mono", 44100)):
        write_film(
            tmp_path / "part.ts", kind="mpegts", sound="mp2", layout=layout, hertz=hertz, count=10
        )
        parts += (tmp_path / "part.ts").read_bytes()
    (tmp_path / "film.ts").write_bytes(parts)
    assert negative(tmp_path / "film.ts", output)[0] == ()
    assert read_back(output)[2] == pytest.approx(2, abs=0.2)


@pytest.mark.parametrize("later", [("mono", 44100), ("stereo", 22050), ("mono", 48000)])
def test_aac_that_changes_on_the_way_is_encoded_anew(tmp_path, output, later):
    """MP4 has one description for all of it, by which the later part would play at a wrong rate."""
    parts = b""
    for layout, hertz in (("stereo", 48000), later):
        write_film(tmp_path / "part.ts", kind="mpegts", layout=layout, hertz=hertz, count=20)
        parts += (tmp_path / "part.ts").read_bytes()
    (tmp_path / "film.ts").write_bytes(parts)
    assert negative(tmp_path / "film.ts", output)[0] == ()
    assert heard(output)[1:] == (48000, "stereo")
    assert read_back(output)[2] == pytest.approx(4, abs=0.2)
    assert pitch(output) == pytest.approx([440, 440], abs=5)


@pytest.mark.parametrize("name", ["film.mov", "film.mkv"])  # with and without a layout
def test_sound_that_is_encoded_anew_keeps_its_channels(tmp_path, output, name):
    write_film(tmp_path / name, sound="pcm_s16le", hertz=48000, layout="5.1")
    assert negative(tmp_path / name, output)[0] == ()
    assert heard(output)[1:] == (48000, "5.1")


@pytest.mark.parametrize("hertz", [16000, 11127])
def test_sound_that_is_encoded_anew_keeps_its_gaps(tmp_path, output, hertz):
    write_film(tmp_path / "film.mkv", sound="pcm_s16le", hertz=hertz, count=30, seconds=2, pause=1)
    assert negative(tmp_path / "film.mkv", output)[0] == ()
    times = np.array(heard(output)[0])
    assert read_back(output)[2] == pytest.approx(2, abs=0.2)
    at = np.diff(times).argmax()
    np.testing.assert_allclose(times[[0, at, at + 1, -1]], (0, 1, 2, 3), atol=0.1)
    assert np.sort(np.diff(times))[-2] < 0.1


def test_of_sound_at_times_that_are_there_already_a_piece_is_left_out(tmp_path, output):
    write_film(tmp_path / "film.mkv", sound="pcm_s16le", count=30, seconds=2, pause=-0.3)
    assert negative(tmp_path / "film.mkv", output)[0] == ()
    assert read_back(output)[2] == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize("sound", ["aac", "mp2"])
def test_sound_that_is_announced_and_never_comes_is_left_out(tmp_path, output, sound):
    write_film(tmp_path / "film.ts", count=20, kind="mpegts", sound=sound)
    data = np.frombuffer((tmp_path / "film.ts").read_bytes(), np.uint8).reshape(-1, 188)
    is_sound = (data[:, 1] % 32 == 1) & (data[:, 2] == 1)
    (tmp_path / "film.ts").write_bytes(data[~is_sound].tobytes())
    assert negative(tmp_path / "film.ts", output)[0] == ()
    times, _, seconds = read_back(output)
    assert len(times) == 20 and is_sound.any() and seconds == 0


def joined(tmp_path, **facts):
    write_film(tmp_path / "part.ts", count=20, kind="mpegts", **facts)
    (tmp_path / "film.ts").write_bytes((tmp_path / "part.ts").read_bytes() * 2)
    return tmp_path / "film.ts"


def test_films_joined_end_to_end_are_shown_one_after_the_other(tmp_path, output):
    assert negative(joined(tmp_path, sound=None), output)[0] == ()
    np.testing.assert_allclose(read_back(output)[0], np.arange(40) / 10, atol=1e-3)


def test_sound_stays_in_step_where_films_were_joined(tmp_path, output):
    import av

    assert negative(joined(tmp_path), output)[0] == ()
    times, _, sound = read_back(output)
    later = np.subtract(times[20:], times[:20])
    np.testing.assert_allclose(later, later[0], atol=1e-3)
    assert len(times) == 40 and 2 <= later[0] < 2.1 and sound == pytest.approx(4.1, abs=0.2)
    with av.open(str(output)) as film:
        packets = [(bytes(p), p.pts * p.time_base) for p in film.demux(audio=0) if p.size]
    starts = [time for data, time in packets if data == packets[5][0]]
    assert len(starts) == 2 and starts[1] - starts[0] == pytest.approx(later[0], abs=1e-3)


def test_a_piece_from_before_a_join_may_come_after_it():
    pictures, sound = SimpleNamespace(index=0), SimpleNamespace(index=1)
    films, moved = decode.Timeline(), []
    times = [(0, 10), (1, 10), (0, 30), (1, 28), (1, 10), (0, 31), (0, 10), (1, 12), (0, 12)]
    for index, time in times:
        packet = SimpleNamespace(
            stream=(pictures, sound)[index], time_base=Fraction(1), dts=time, pts=None, duration=2
        )
        films.move(packet)
        moved.append(packet.dts)
    assert moved == [10, 10, 30, 28, 32, 31, 32, 34, 34]
