"""Training pictures: which are found, what is cut out of them, and that batch i is batch i."""

import itertools

import helpers
import numpy as np
import pytest

from jaxnst.feedforward.crops import batches, find_pictures, random_crop
from jaxnst.feedforward.settings import Training
from jaxnst.image import save_image

COLOURS = 7


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures of one color each, by which crops of them are known."""
    root = tmp_path_factory.mktemp("pictures")
    (root / "more").mkdir()
    for i in range(COLOURS):
        name = f"more/{i}.png" if i % 2 else f"{i}.png"
        save_image(root / name, np.full((40 + i, 64, 3), i / 10, np.float32))
    return root


@pytest.fixture(scope="module")
def pictures(folder):
    return find_pictures(folder, side=32)


def colours(batch):
    """Tell which pictures a batch is of."""
    flat = batch.images.reshape(len(batch.images), -1)
    assert (flat == flat[:, :1]).all()
    return [round(int(value) / 25.5) for value in flat[:, 0]]


def take(count, pictures, *, side, batch, seed=0, **options):
    settings = Training(crop=side, batch=batch, seed=seed)
    source = batches(pictures, settings, **options)
    found = list(itertools.islice(source, count))
    source.close()
    return found


def test_pictures_are_found_in_all_folders_and_in_order(tmp_path):
    for name in ("b.png", "a/z.jpg", "a/C.PNG", ".hidden/x.png", "a/.y.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        save_image(tmp_path / name, helpers.picture(32, 48))
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    save_image(tmp_path / "small.png", helpers.picture(15, 48))
    found = find_pictures(tmp_path, side=32)
    assert found.names == ("b.png", "a/C.PNG", "a/z.jpg")
    assert found.others == (".txt",)
    assert found.small == 1 and len(found.broken) == 1 and "broken.jpg" in found.broken[0]
    assert found.path(2) == str(tmp_path / "a" / "z.jpg")
    without = (tmp_path / "a" / ".." / "b.png", tmp_path / "none.png")
    assert find_pictures(tmp_path, side=32, without=without).names == ("a/C.PNG", "a/z.jpg")
    without = (tmp_path / "a", tmp_path / "notes.txt")
    found = find_pictures(tmp_path, side=32, without=without)
    assert found.names == ("b.png",) and found.others == ()


def test_another_file_is_another_digest(folder, pictures):
    assert find_pictures(folder, side=32).digest == pictures.digest
    assert pictures.hold_out(2)[0].digest != pictures.digest


@pytest.mark.parametrize(("count", "held"), [(0, []), (1, [3]), (3, [1, 3, 5]), (7, [*range(7)])])
def test_what_is_held_out_is_spaced_evenly_and_nothing_is_lost(pictures, count, held):
    kept, out = pictures.hold_out(count)
    assert out.names == tuple(pictures.names[i] for i in held)
    assert sorted((*kept.names, *out.names)) == sorted(pictures.names)
    assert len(kept.sizes) == len(kept)


@pytest.mark.parametrize(
    ("make", "kind", "text"),
    [
        (lambda path: None, FileNotFoundError, "does not exist: check the name"),
        (lambda path: path.write_bytes(b""), NotADirectoryError, "is a file, expected a folder"),
        (lambda path: path.mkdir(), ValueError, r"its subfolders hold no pictures \(\.jpg, "),
        (
            lambda path: (path.mkdir(), (path / "a.png").write_bytes(b"x")),
            ValueError,
            "of 1, 1 cannot be read; give another folder or a smaller crop",
        ),
        (
            lambda path: (path.mkdir(), save_image(path / "a.png", helpers.picture(15, 90))),
            ValueError,
            "of 1, 1 have fewer than 16 pixels on the shorter side",
        ),
    ],
)
def test_a_folder_that_cannot_be_used_is_refused(tmp_path, make, kind, text):
    make(tmp_path / "given")
    with pytest.raises(kind, match=text):
        find_pictures(tmp_path / "given", side=32)


def test_crops_are_squares_of_the_picture_of_many_sizes(rng):
    """Of a picture whose values are its coordinates a crop says where it was cut."""
    y, x = np.mgrid[0:90, 0:120].astype(np.float32) / 120
    picture = np.stack([y, x, y], axis=-1)
    edges, mirrored = [], 0
    for _ in range(60):
        crop = random_crop(picture, 30, rng)
        assert crop.shape == (30, 30, 3) and crop.dtype == np.uint8
        down, right = (np.ptp(crop[..., i].astype(float)) / 255 * 120 * 30 / 29 for i in (0, 1))
        assert down == pytest.approx(right, abs=3)
        edges.append(down)
        mirrored += crop[0, 0, 1] > crop[0, -1, 1]
    assert min(edges) == pytest.approx(30, abs=4) and max(edges) == pytest.approx(90, abs=6)
    assert 15 < mirrored < 45


def test_a_smaller_picture_is_enlarged(rng):
    assert random_crop(helpers.picture(20, 25), 32, rng).shape == (32, 32, 3)


def test_every_picture_is_seen_once_in_a_round(pictures):
    seen = [colour for b in take(2 * COLOURS, pictures, side=16, batch=2) for colour in colours(b)]
    rounds = [seen[i : i + COLOURS] for i in range(0, len(seen), COLOURS)]
    assert all(sorted(each) == [*range(COLOURS)] for each in rounds)
    assert len({tuple(each) for each in rounds}) > 1


def test_a_batch_follows_from_seed_and_number_and_not_from_who_decodes_it(tmp_path):
    for i in range(3):
        save_image(tmp_path / f"{i}.png", helpers.picture(40, 50, seed=i))
    found = find_pictures(tmp_path, side=16)
    plain = take(6, found, side=16, batch=4, seed=1)
    later = take(2, found, side=16, batch=4, seed=1, start=4)
    others = take(6, found, side=16, batch=4, seed=1, workers=2)
    np.testing.assert_array_equal([b.images for b in later], [b.images for b in plain[4:]])
    np.testing.assert_array_equal([b.images for b in others], [b.images for b in plain])
    assert (take(1, found, side=16, batch=4, seed=2)[0].images != plain[0].images).any()
    assert (plain[0].images != plain[1].images).any()


def test_what_cannot_be_decoded_is_replaced_and_told(tmp_path):
    for i in range(3):
        save_image(tmp_path / f"{i}.jpg", np.full((64, 64, 3), i / 10, np.float32))
    whole = (tmp_path / "1.jpg").read_bytes()
    (tmp_path / "1.jpg").write_bytes(whole[:-20])
    found = find_pictures(tmp_path, side=32)
    assert len(found) == 3  # its header is whole
    seen = take(3, found, side=32, batch=1)
    assert sorted(colour for b in seen for colour in colours(b)) == [0, 2, 2]
    assert sorted(int(b.broken[0]) for b in seen) == [-1, -1, 1]
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match="none of 3 pictures in a row can be read"):
        take(1, found, side=32, batch=1)
