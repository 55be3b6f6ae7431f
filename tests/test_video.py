"""Films: pictures changed, times and orientation kept; whatever is wrong with files."""

import errno
from fractions import Fraction

import numpy as np
import pytest
from feedforward_helpers import film_picture, negative, oriented, read_back, turned, write_film
from PIL import Image

from jaxnst.video import Film, check_film, decode, read_film, repaint

pytest.importorskip("av", reason="needs PyAV: pip install av")

# Of 255: H.264 keeps a quarter of the colors; red squares have hard edges.
NEAR = 6


@pytest.fixture
def source(tmp_path):
    write_film(tmp_path / "film.mp4")
    return tmp_path / "film.mp4"


@pytest.fixture
def output(tmp_path):
    return tmp_path / "out.mp4"


def test_every_picture_is_painted_at_its_time_and_the_sound_is_kept(source, output):
    notices, seen = negative(source, output)
    assert notices == ()
    assert [batch.shape for batch in seen] == [(4, 32, 40, 3)] * 2
    np.testing.assert_array_equal(seen[1][1:], seen[1][1:2].repeat(3, 0))  # filled up
    times, pictures, sound = read_back(output)
    np.testing.assert_allclose(times, np.arange(6) / 10, atol=1e-3)
    expected = [255 - film_picture(i, (32, 40)) for i in range(6)]
    assert np.abs(pictures - np.int16(expected)).mean() < NEAR
    assert sound == pytest.approx(0.6, abs=0.2)


def test_a_film_that_begins_late_is_shown_from_its_first_picture(tmp_path, output):
    write_film(tmp_path / "film.ts", kind="mpegts", options={"output_ts_offset": "5"})
    assert read_back(tmp_path / "film.ts")[0][0] > 4
    assert negative(tmp_path / "film.ts", output)[0] == ()
    times, _, sound = read_back(output)
    np.testing.assert_allclose(np.diff(times), 0.1, atol=1e-3)
    assert 0 <= times[0] < 0.3 and sound == pytest.approx(0.6, abs=0.2)


def test_a_film_that_is_to_be_turned_is_painted_upright(source, output):
    source.write_bytes(turned(source.read_bytes()))
    assert read_film(source).size == (40, 32)
    _, seen = negative(source, output)
    right = np.rot90(film_picture(0, (32, 40)), -1)
    assert np.abs(seen[0][0] - np.int16(right)).mean() < NEAR
    assert np.abs(read_back(output)[1][0] - np.int16(255 - right)).mean() < NEAR
    assert read_film(output).size == (40, 32)


@pytest.mark.parametrize(
    "matrix",
    [(a, 0, 0, d) for a in (1, -1) for d in (1, -1)]
    + [(0, b, c, 0) for b in (1, -1) for c in (1, -1)],
)
def test_films_are_shown_as_their_display_matrix_says(source, output, matrix):
    source.write_bytes(oriented(source.read_bytes(), *matrix))
    a, b, c, d = matrix
    y, x = np.mgrid[:32, :40]
    column, row = a * x + c * y, b * x + d * y
    expected = np.zeros((40, 32, 3) if a == 0 else (32, 40, 3), np.uint8)
    expected[row - row.min(), column - column.min()] = film_picture(0, (32, 40))
    assert read_film(source).size == expected.shape[:2]
    _, seen = negative(source, output)
    assert np.abs(seen[0][0] - np.int16(expected)).mean() < NEAR


@pytest.mark.parametrize("name", ["12:30:05.mp4", "Part1:intro.mp4", "file:a.mp4"])
def test_a_name_that_looks_like_an_address_is_a_file(source, name, monkeypatch):
    monkeypatch.chdir(source.parent)
    source.rename(source.parent / name)
    assert negative(name, f"out-{name}")[0] == ()
    assert len(read_back(source.parent / f"out-{name}")[0]) == 6


def test_uneven_times_are_kept(tmp_path, output):
    times = [0, 40, 200, 240, 500, 520]
    write_film(tmp_path / "film.mp4", times=times, sound=None)
    negative(tmp_path / "film.mp4", output)
    np.testing.assert_allclose(read_back(output)[0], np.array(times) / 1000, atol=2e-3)


@pytest.mark.parametrize(("side", "green"), [(704, 0), (720, 24)])
def test_large_films_that_do_not_say_their_colors_are_read_as_they_are_shown(
    tmp_path, output, side, green
):
    """By BT.709; the red of this one was encoded by BT.601."""
    write_film(tmp_path / "film.mp4", count=1, size=(side, side), sound=None)
    _, seen = negative(tmp_path / "film.mp4", output, batch=1)
    np.testing.assert_allclose(seen[0][0][4, 4], (255, green, 0), atol=8)
    np.testing.assert_allclose(read_back(output)[1][0][4, 4], (0, 255 - green, 255), atol=8)


def test_sides_are_even_and_not_longer_than_wanted():
    facts = Film(size=(481, 641), rate=Fraction(30), count=None)
    assert facts.fitting(None) == (480, 640)
    assert facts.fitting(1000) == (480, 640)
    assert facts.fitting(101) == (76, 100)


def test_pictures_are_reduced_before_they_are_painted(source, output):
    _, seen = negative(source, output, longest=20)
    assert seen[0].shape == (4, 16, 20, 3)
    assert read_back(output)[1].shape == (6, 16, 20, 3)


# What is wrong with files.


def test_a_film_that_does_not_say_how_long_its_pictures_are_has_no_count(tmp_path):
    write_film(tmp_path / "film.flv", seconds=4, hertz=44100)
    assert read_film(tmp_path / "film.flv").count is None


def test_a_film_whose_index_was_cut_off_is_refused(source):
    data = source.read_bytes()
    source.write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=r"is not a film that can be read .*: check the file"):
        read_film(source)


@pytest.mark.parametrize("content", ["a text\n" * 50, "\0" * 5000])
def test_files_that_are_no_films_are_refused_in_one_line(tmp_path, content):
    (tmp_path / "film.mp4").write_text(content)
    with pytest.raises(ValueError, match=r"film.mp4 is not a film that can be read \(") as raised:
        read_film(tmp_path / "film.mp4")
    assert "\n" not in str(raised.value) and "Errno" not in str(raised.value)


def test_files_that_are_not_there_or_empty_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"film.mp4 does not exist"):
        read_film(tmp_path / "film.mp4")
    (tmp_path / "film.mp4").touch()
    with pytest.raises(ValueError, match="is empty"):
        read_film(tmp_path / "film.mp4")


@pytest.mark.parametrize("kind", ["mp4", "matroska"])
@pytest.mark.parametrize("what", ["sound", "pictures"])
def test_films_without_pictures_are_refused(tmp_path, kind, what):
    import av

    with av.open(str(tmp_path / "film.mp4"), "w", format=kind) as empty:
        if what == "sound":
            stream = empty.add_stream("aac", rate=8000, layout="mono")
        else:
            stream = empty.add_stream("mpeg4", rate=10)
            stream.height, stream.width, stream.pix_fmt = 32, 40, "yuv420p"
        empty.start_encoding()
    with pytest.raises(ValueError, match=r"film.mp4 (has no|is not a) .*that can be read"):
        read_film(tmp_path / "film.mp4")


def joined(tmp_path, *parts):
    """A film of parts that differ."""
    data = b""
    for facts in parts:
        write_film(tmp_path / "part.ts", kind="mpegts", sound=None, **facts)
        data += (tmp_path / "part.ts").read_bytes()
    (tmp_path / "film.ts").write_bytes(data)
    return tmp_path / "film.ts"


@pytest.mark.parametrize(
    ("later", "inner"),
    [
        ((64, 80), (slice(None), slice(None))),
        ((48, 64), (slice(1, 31), slice(None))),  # 4:3 between bars above and below
        ((80, 64), (slice(None), slice(7, 33))),  # 4:5 between bars on both sides
    ],
)
def test_pictures_of_another_size_are_scaled_to_fit_the_first(tmp_path, output, later, inner):
    source = joined(tmp_path, {}, {"size": later}, {})
    notices, seen = negative(source, output, batch=1)
    assert notices == (
        f"{source} changes its size at 0.6 s, from 40x32 to {later[1]}x{later[0]}: all pictures "
        "were scaled to fit the first",
    )
    np.testing.assert_allclose(read_back(output)[0], np.arange(18) / 10, atol=1e-3)
    shown = np.int16([batch[0] for batch in seen])
    whole = np.int16([film_picture(i, (32, 40)) for i in range(6)])
    assert np.abs(shown[:6] - whole).mean() < NEAR and np.abs(shown[12:] - whole).mean() < NEAR
    for i, picture in enumerate(shown[6:12]):
        size = picture[inner].shape[1::-1]
        expected = Image.fromarray(film_picture(i, later)).resize(size, Image.Resampling.BICUBIC)
        assert np.abs(picture[inner] - np.int16(expected)).mean() < NEAR
        bars = np.ones((32, 40), bool)
        bars[inner] = False
        assert not picture[bars].any()


def test_pixels_that_become_narrower_are_not_stretched(tmp_path, output):
    """As of television that goes from 16:9 to 4:3."""
    source = joined(tmp_path, {"aspect": Fraction(4, 3)}, {"aspect": Fraction(1)})
    assert (read_film(source).aspect, read_film(source).shown) == (Fraction(4, 3), (32, 53))
    notices, seen = negative(source, output, batch=1)
    assert ["at 0.6 s, from 53x32 to 40x32: all" in notice for notice in notices] == [True]
    for i, (picture,) in enumerate(seen):
        expected = Image.fromarray(film_picture(i % 6, (32, 40)))
        if i >= 6:
            expected = expected.resize((30, 32), Image.Resampling.BICUBIC)
            assert not picture[:, :5].any() and not picture[:, 35:].any()
            picture = picture[:, 5:35]
        assert np.abs(picture - np.int16(expected)).mean() < NEAR
    assert read_film(output).aspect == Fraction(4, 3)


def test_the_format_of_pixels_may_change_on_the_way(tmp_path, output):
    source = joined(tmp_path, {}, {"pixels": "yuv444p"}, {"pixels": "yuv420p10le"})
    notices, seen = negative(source, output, batch=1)
    assert notices == ()
    for i, (picture,) in enumerate(seen):
        assert np.abs(picture - np.int16(film_picture(i % 6, (32, 40)))).mean() < NEAR


@pytest.mark.parametrize(("turn", "size"), [(90, "40x32 to 32x40"), (180, "")])
def test_films_may_be_turned_on_the_way(tmp_path, output, turn, size):
    """H.264 says so at key frames, for all pictures until the next one."""
    import av
    from av.bitstream import BitStreamFilterContext

    write_film(tmp_path / "part.ts", kind="mpegts", sound=None)
    with (
        av.open(str(tmp_path / "part.ts")) as plain,
        av.open(str(tmp_path / "turned.ts"), "w", format="mpegts") as target,
    ):
        stream = plain.streams.video[0]
        copy = target.add_stream_from_template(stream)
        orientation = f"h264_metadata=display_orientation=insert:rotate={turn}"
        turning = BitStreamFilterContext(orientation, stream, copy)
        for packet in plain.demux(stream):
            for changed in turning.filter(packet if packet.size else None):
                changed.stream = copy
                target.mux(changed)
    parts = [(tmp_path / name).read_bytes() for name in ("part.ts", "turned.ts", "part.ts")]
    (tmp_path / "film.ts").write_bytes(b"".join(parts))
    notices, seen = negative(tmp_path / "film.ts", output, batch=1)
    assert [size in notice for notice in notices] == ([True] if size else [])
    for i, (picture,) in enumerate(seen):
        expected = film_picture(i % 6, (32, 40))
        if 6 <= i < 12:
            expected = np.rot90(expected, turn // 90)  # to the left
        if expected.shape[0] == 40:
            expected = Image.fromarray(expected).resize((26, 32), Image.Resampling.BICUBIC)
            picture = picture[:, 7:33]
        assert np.abs(picture - np.int16(expected)).mean() < NEAR


@pytest.mark.parametrize(
    ("code", "kind", "message"),
    [
        (errno.ENOSPC, OSError, r"out.mp4 could not be saved \(No space .*\): free some space or"),
        (errno.EINVAL, ValueError, r"film.mp4 cannot be written as MP4 \(Invalid argument\): conv"),
        (errno.EPERM, ValueError, r"film.mp4 cannot be written as MP4 \(Operation .*\): convert"),
    ],
)
def test_room_is_asked_for_only_where_the_system_cannot_write(source, output, code, kind, message):
    import av

    def fail(_):
        av.error.err_check(-code)

    facts = read_film(source)
    with pytest.raises(kind, match=message):
        repaint(source, output, np.array, film=facts, size=(32, 40), batch=2, on_progress=fail)
    assert [path.name for path in output.parent.iterdir()] == ["film.mp4"]


def test_what_stops_the_work_leaves_nothing_behind(source, output):
    def stop(_):
        raise KeyboardInterrupt

    facts = read_film(source)
    with pytest.raises(KeyboardInterrupt):
        repaint(source, output, np.array, film=facts, size=(32, 40), batch=2, on_progress=stop)
    assert [path.name for path in output.parent.iterdir()] == ["film.mp4"]


def test_a_missing_library_is_named(source, output, monkeypatch):
    monkeypatch.setattr(decode, "find_spec", lambda _: None)
    for refuse in (lambda: read_film(source), lambda: check_film(output)):
        with pytest.raises(ModuleNotFoundError, match=r"films need PyAV: pip install 'jaxnst"):
            refuse()


def test_films_are_written_as_mp4_only(tmp_path):
    check_film(tmp_path / "out.mp4")
    with pytest.raises(ValueError, match=r"out.mov has the extension .mov, expected one of .mp4"):
        check_film(tmp_path / "out.mov")
    with pytest.raises(FileNotFoundError, match=r"folder .* does not exist"):
        check_film(tmp_path / "missing/out.mp4")
