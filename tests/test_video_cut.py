"""Films that were cut short or damaged; and whole ones, of which that must not be reported."""

import os
import re
import struct
from types import SimpleNamespace

import pytest
from feedforward_helpers import negative, read_back, write_film

from jaxnst.video import decode, read_film

av = pytest.importorskip("av", reason="needs PyAV: pip install av")

FRAGMENTS = {"movflags": "frag_keyframe+empty_moov", "frag_duration": "500000"}
INDEXED = FRAGMENTS | {"movflags": "frag_keyframe+empty_moov+default_base_moof+global_sidx"}

FILMS = {
    "plain.mp4": {"options": {"movflags": "+faststart"}},
    "indexed.mp4": {"options": INDEXED},
    "film.mkv": {},
    "film.flv": {"hertz": 44100},
    "film.avi": {"sound": "mp3"},
    "fragments.mp4": {"options": FRAGMENTS},
    "live.mkv": {"options": {"live": "1"}},
    "film.ts": {},
    "film.m2ts": {},
    "film.mpg": {"sound": "mp2"},
    "film.wmv": {"sound": None},
}

DECLARING = list(FILMS)[:5]
"""Films that declare a duration, also when a part of the file is missing."""


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    for name, facts in FILMS.items():
        write_film(folder / name, count=40, **facts)
    return folder


@pytest.fixture
def output(tmp_path):
    return tmp_path / "out.mp4"


@pytest.mark.parametrize("name", FILMS)
def test_of_a_film_that_was_cut_what_is_there_is_painted(films, tmp_path, output, name):
    assert negative(films / name, output)[0] == ()
    assert len(read_back(output)[0]) == 40
    data, source = (films / name).read_bytes(), tmp_path / name
    source.write_bytes(data[: len(data) * 2 // 3])
    notices = negative(source, output)[0]
    count = len(read_back(output)[0])
    assert 20 < count <= 40
    if name in DECLARING:
        assert count < 40
        of = "" if read_film(source).count is None else r" of 4\d"
        notice = rf"is cut short: the {count}{of} pictures that are there were painted"
        assert re.search(notice, notices[-1])


@pytest.mark.parametrize("name", ["plain.mp4", "film.mkv", "film.avi", "film.wmv"])
@pytest.mark.parametrize("filled", [bytes, os.urandom])
def test_of_a_film_whose_end_was_never_written_is_reported(films, tmp_path, output, name, filled):
    """A download that was interrupted may have its full length already."""
    data, source = (films / name).read_bytes(), tmp_path / name
    left = len(data) * 2 // 3
    source.write_bytes(data[:left] + filled(len(data) - left))
    notices = " ".join(negative(source, output)[0])
    if name == "plain.mp4":  # its index knows where there should be something
        assert re.search(r"is damaged: \d+ pieces of it were left out", notices)
    else:
        assert 10 < int(re.search(r"is cut short: the (\d+) of 4\d pictures", notices)[1]) < 40


@pytest.mark.parametrize(("error", "notices"), [(IndexError, 0), (av.FFmpegError, 1)])
def test_pictures_before_an_error_in_the_file_are_kept(films, error, notices):
    """PyAV's IndexError, as of FLV, whose streams may begin at any time, loses no picture."""
    with decode.open_film(films / "film.mkv") as decoder:
        container = decoder.container

        def demux(*streams):
            yield from container.demux(*streams)
            raise error(1, "list index out of range")

        decoder.container = SimpleNamespace(
            demux=demux, streams=container.streams, format=container.format
        )
        assert len(list(decoder.pictures(read_film(films / "film.mkv"), (32, 40)))) == 40
        assert len(decoder.notices) == notices
        assert all("is cut short: the 40 pictures" in n for n in decoder.notices.values())


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("film.mkv", {}),
        ("film.avi", {}),
        ("film.ts", {}),
        ("film.flv", {}),
        ("film.mp4", FRAGMENTS),
        ("film.mp4", {"movflags": INDEXED["movflags"]}),
        ("film.mp4", {"movflags": "frag_every_frame+empty_moov"}),
    ],
)
def test_a_film_that_becomes_slower_is_not_cut_short(tmp_path, output, name, options):
    times = [40 * i for i in range(100)] + [4000 + 2000 * i for i in range(10)]
    facts = {"count": len(times), "times": times, "seconds": 24, "rate": 25, "options": options}
    if name == "film.flv":
        facts["hertz"] = 44100
    write_film(tmp_path / name, **facts)
    assert negative(tmp_path / name, output)[0] == ()


@pytest.mark.parametrize("name", ["film.mkv", "film.flv", "film.avi", "film.wmv"])
@pytest.mark.parametrize(("start", "late"), [(0, "0"), (0.4, "0"), (0, "4")])
def test_a_film_whose_sound_is_longer_is_not_cut_short(tmp_path, output, name, start, late):
    times = [round(1000 * start) + 100 * i for i in range(20)]
    options = {"output_ts_offset": late}
    facts = {"sound": "mp3"} if name == "film.avi" else {"sound": "aac", "hertz": 44100}
    write_film(tmp_path / name, count=20, seconds=4, times=times, options=options, **facts)
    assert name != "film.mkv" or read_film(tmp_path / name).count == 20
    assert negative(tmp_path / name, output)[0] == ()


def test_a_film_of_which_a_part_is_not_to_be_shown_is_not_cut_short(tmp_path, output):
    write_film(tmp_path / "film.mp4", count=40)
    data = bytearray((tmp_path / "film.mp4").read_bytes())
    at = -1
    while (at := data.find(b"elst", at + 1)) > 0:
        struct.pack_into(">I", data, at + 12, struct.unpack_from(">I", data, at + 12)[0] // 2)
    (tmp_path / "film.mp4").write_bytes(data)
    assert read_film(tmp_path / "film.mp4").count == 40
    assert negative(tmp_path / "film.mp4", output)[0] == ()
    assert len(read_back(output)[0]) == 20
