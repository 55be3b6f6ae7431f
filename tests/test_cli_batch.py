"""``jaxnst batch``: rows, results, going on, and rows that fail."""

import json
import os
import re
import sys
from functools import partial
from types import SimpleNamespace

import helpers
import jax
import numpy as np
import pytest

from jaxnst import cli
from jaxnst.cli import batch, engine, job, outputs, work
from jaxnst.cli import manifest as rows
from jaxnst.cli.errors import UsageError
from jaxnst.cli.parser import parse
from jaxnst.image import image_size, load_image, read_record, save_image
from jaxnst.optim.sharding import threads_of

SMALL = ("--size", "32", "--steps", "3", "--no-cache", *helpers.SHALLOW)
SIDE_BY_SIDE = (*SMALL, "--at-once", "8")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    for name, seed, size in (("a", 1, (48, 64)), ("b", 2, (48, 64)), ("tall", 3, (64, 48))):
        (tmp_path / "photos").mkdir(exist_ok=True)
        save_image(tmp_path / f"photos/{name}.png", helpers.picture(*size, seed=seed))
    (tmp_path / "paintings").mkdir()
    for name, seed in (("x", 4), ("y", 5)):
        save_image(tmp_path / f"paintings/{name}.jpg", helpers.picture(40, 50, seed=seed))
    (tmp_path / "photos/notes.txt").write_text("not a picture")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def batched(call):
    return partial(call, "batch")


FOLDERS = ("--contents", "photos", "--styles", "paintings", "--out", "out")


def records(folder="out"):
    with open(f"{folder}/results.jsonl") as file:
        return [json.loads(line) for line in file]


def made():
    return sorted(name for name in os.listdir("out") if name.endswith(".png"))


# All of it.


def test_every_content_with_every_style_and_then_nothing_is_left(batched):
    status, out, err = batched(*FOLDERS, *SMALL)
    names = [f"{c}-{s}.png" for c in ("a", "b", "tall") for s in ("x", "y")]
    assert status == 0 and made() == names
    assert sorted(out.split()) == [os.path.join("out", name) for name in names]
    assert "6 pictures, 0 of them already painted" in err and "0 failed" in err
    found = {record["output"]: record for record in records()}
    assert sorted(found) == names
    one = found["tall-y.png"]
    assert one["content"] == "tall.png" and one["styles"] == ["y.jpg"] and one["error"] is None
    assert one["evaluations"] == 3 and set(one["losses"]) == {"total", "content", "style", "tv"}
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in one["inputs"])
    made_of = read_record("out/tall-y.png")
    assert [s.sha256 for s in made_of.sources] == one["inputs"] and made_of.size == 32
    assert [s.name for s in made_of.sources] == ["tall.png", "y.jpg"]
    assert made_of.recipe.scales.steps == 3 and made_of.network == "vgg16-lite"
    before = {name: os.stat(f"out/{name}").st_mtime_ns for name in names}
    status, out, err = batched(*FOLDERS, *SMALL)
    assert (status, out) == (0, "") and "6 of them already painted" in err
    assert {name: os.stat(f"out/{name}").st_mtime_ns for name in names} == before


def test_what_has_changed_is_made_again(batched):
    assert batched(*FOLDERS, *SMALL, "--quiet")[0] == 0
    save_image("photos/a.png", helpers.picture(48, 64, seed=9))
    os.remove("out/b-x.png")
    _, out, err = batched(*FOLDERS, *SMALL, "--overwrite")
    assert "6 pictures, 3 of them already painted" in err
    assert sorted(out.split()) == ["out/a-x.png", "out/a-y.png", "out/b-x.png"]
    other = (*FOLDERS, *SMALL, "--style-weight", "9", "--overwrite")
    assert "0 of them already painted" in batched(*other)[2]
    assert "6 of them already painted" in batched(*other[:-1])[2]


def test_what_another_command_made_is_kept_unless_it_may_be_replaced(batched, folder):
    """Nothing is painted either: the rows that are missing wait until the user has decided."""
    os.remove("photos/notes.txt")
    assert batched(*FOLDERS, *SMALL, "--quiet")[0] == 0
    os.remove("out/b-x.png")
    before = {path.name: path.read_bytes() for path in (folder / "out").iterdir()}
    error = "jaxnst batch: error: out/{}, made from other pictures or with other "
    error += "settings: choose another folder, or add --overwrite to replace them\n"
    weight = batched(*FOLDERS, *SMALL, "--style-weight", "9")
    assert weight == (2, "", error.format("a-x.png and 4 more already exist"))
    # Pictures of the same names from elsewhere.
    (folder / "paintings").rename(folder / "others")
    save_image(folder / "others/x.jpg", helpers.picture(48, 48, seed=9))
    others = batched(*FOLDERS[:2], "--styles", "others/x.jpg", *FOLDERS[-2:], *SMALL)
    assert others == (2, "", error.format("a-x.png and 1 more already exist"))
    (folder / "others").rename(folder / "paintings")
    save_image(folder / "out/own.png", helpers.picture(48, 48, seed=9))
    before["own.png"] = (folder / "out/own.png").read_bytes()
    (folder / "m.csv").write_text("content,style,output\nphotos/a.png,paintings/y.jpg,own.png\n")
    own = batched("--manifest", "m.csv", *FOLDERS[-2:], *SMALL, "--seed", "3", "--quiet")
    assert own == (2, "", error.format("own.png already exists"))
    assert {path.name: path.read_bytes() for path in (folder / "out").iterdir()} == before


def test_files_of_another_kind_are_made_again_and_logs_without_that_stay_valid(batched):
    jpeg = ("--contents", "photos/a.png", "--styles", "paintings", "--out", "out", "--ending")
    jpeg = (*jpeg, ".jpg", *SMALL)

    def there(*more):
        return int(re.search(r"(\d) of them already", batched(*jpeg, *more)[2])[1])

    assert there() == 0 and there("--quality", "95", "--bits", "8") == 2
    assert there("--quality", "30", "--overwrite") == 0 and there("--quality", "30") == 2
    assert there("--quality", "30", "--dpi", "150", "--overwrite") == 0
    task = ("content", "style", "--size", "32")
    digests = [
        batch._settings(*parse([*task, *more], "jaxnst batch"))
        for more in ((), ("--bits", "8"), ("--quality", "95"), ("--bits", "16"), ("--dpi", "150"))
    ]
    assert digests[:3] == digests[:1] * 3 and len(set(digests)) == 3


@pytest.mark.parametrize("form", ["pairs.csv", "pairs.jsonl"])
def test_a_manifest_names_results_and_gives_rows_flags_of_their_own(batched, folder, form):
    lines = [
        {"content": "photos/a.png", "style": "paintings/x.jpg", "output": "one.png", "seed": 3},
        {"content": "photos/a.png", "style": "paintings/x.jpg", "output": "two.png", "seed": 4},
        {"content": "photos/b.png", "style": "paintings/x.jpg|paintings/y.jpg"},
    ]
    if form == "pairs.csv":
        text = "content,style,output,seed,style-weight\n" + "".join(
            f"{r['content']},{r['style']},{r.get('output', '')},{r.get('seed', '')},\n"
            for r in lines
        )
    else:
        lines[2]["style"] = ["paintings/x.jpg", "paintings/y.jpg"]
        text = "\n".join(json.dumps(line) for line in lines)
    (folder / form).write_text(text)
    status, *_ = batched("--manifest", form, "--out", "out", "--init", "noise", *SMALL, "--quiet")
    assert status == 0 and made() == ["b-x-y.png", "one.png", "two.png"]
    assert np.abs(load_image("out/one.png") - load_image("out/two.png")).max() > 0.02
    assert {r["output"]: r["seed"] for r in records()} == {
        "one.png": 3,
        "two.png": 4,
        "b-x-y.png": 0,
    }


def test_rows_of_a_manifest_differ_in_what_a_run_can_set(batched, call, folder):
    (folder / "lists").mkdir()
    (folder / "lists/mine.toml").write_text('base = "default"\n[style]\nweight = 0.5\n')
    own = [
        {"output": "large.png", "size": 48, "colors": "linear"},
        {"output": "mixed.png", "style-mix": "0,1", "dpi": 150},
        {"output": "mine.jpg", "recipe": "mine.toml", "quality": 40},
        {"output": "plain.png"},
    ]
    pictures = {"content": "../photos/a.png", "style": "../paintings/x.jpg|../paintings/y.jpg"}
    lines = [json.dumps(pictures | row) for row in own]
    (folder / "lists/m.jsonl").write_text("\n".join(lines))
    status, _, err = batched("--manifest", "lists/m.jsonl", "--out", "out", *SMALL)
    assert status == 0, err
    files = {row["output"]: read_record(f"out/{row['output']}") for row in own}
    assert [(r.size, r.recipe.style.weight, r.recipe.colors.mode) for r in files.values()] == [
        (48, 5.0, "linear"),
        (32, 5.0, "style"),
        (32, 0.5, "style"),
        (32, 5.0, "style"),
    ]
    assert image_size("out/large.png") == (36, 48)
    mixed = files["mixed.png"].arguments
    assert (mixed["style-mix"], mixed["dpi"]) == (("0.0,1.0",), 150)
    assert files["mine.jpg"].arguments["quality"] == 40
    alone = ("photos/a.png", "paintings/y.jpg", "-o", "alone.png", *SMALL, "--quiet")
    assert call("run", *alone)[0] == 0
    np.testing.assert_allclose(load_image("out/mixed.png"), load_image("alone.png"), atol=0.01)
    assert np.abs(load_image("out/plain.png") - load_image("alone.png")).max() > 0.02
    assert (
        "4 of them already painted"
        in batched("--manifest", "lists/m.jsonl", "--out", "out", *SMALL)[2]
    )


def test_a_layer_that_does_not_exist_names_its_line_before_anything_is_painted(batched, folder):
    (folder / "m.csv").write_text(
        "content,style,output,content-layers\n"
        "photos/a.png,paintings/x.jpg,one.png,relu2_1\n"
        'photos/a.png,paintings/x.jpg,two.png,"relu2_1,relu9_1"\n'
    )
    status, out, err = batched("--manifest", "m.csv", "--out", "out", *SMALL)
    assert (status, out) == (2, "") and made() == []
    assert "jaxnst batch: error: m.csv, line 3: " in err and "relu9_1" in err


def test_a_recipe_s_own_shape_is_upright_for_portraits_and_said_once(batched, folder):
    (folder / "wide.toml").write_text("[scales]\naspect = 1.5\nstyle_like_content = true\n")
    status, _, err = batched(*FOLDERS, *SMALL, "--recipe", "wide.toml")
    assert status == 0
    assert load_image("out/a-x.png").shape == (21, 32, 3)
    assert load_image("out/tall-x.png").shape == (32, 21, 3)
    assert err.count("a.png and 2 more are stretched: the recipe wide has an aspect") == 1
    assert err.count("the recipe wide stretches styles to the shape of the result") == 1


def test_shards_share_the_rows(batched):
    counts = [
        len(batched(*FOLDERS, *SMALL, "--shard", f"{i}/4", "--quiet")[1].split()) for i in (1, 4)
    ]
    assert counts == [2, 1] and len(made()) == 3
    assert batched(*FOLDERS, *SMALL, "--quiet")[0] == 0 and len(made()) == 6


# Rows that fail.


def test_a_bad_file_costs_only_its_own_rows(batched, folder):
    (folder / "photos/broken.png").write_bytes((folder / "photos/a.png").read_bytes()[:200])
    (folder / "paintings/y.jpg").write_bytes(b"")
    save_image("photos/small.png", helpers.picture(12, 40))
    status, out, err = batched(*FOLDERS, *SMALL)
    assert status == 1 and len(out.split()) == 3 and made() == ["a-x.png", "b-x.png", "tall-x.png"]
    assert "7 failed" in err and "broken-x.png failed" in err
    errors = {r["output"]: r["error"] for r in records() if r["error"]}
    assert len(errors) == 7 and "expected at least 16" in errors["small-x.png"]
    # What failed is tried again, what was done is not.
    (folder / "photos/broken.png").write_bytes((folder / "photos/a.png").read_bytes())
    assert "10 pictures, 3 of them already painted" in batched(*FOLDERS, *SMALL)[2]
    assert "broken-x.png" in made()


def test_pictures_of_which_nothing_is_seen_cost_only_their_own_rows(batched, painted):
    clear = np.dstack([helpers.picture(48, 64), np.zeros((48, 64, 1))])
    save_image("photos/clear.png", clear)
    save_image("paintings/glass.png", clear)
    status, out, err = batched(*FOLDERS, *SIDE_BY_SIDE)
    assert status == 1 and len(out.split()) == 6 and "6 failed" in err
    assert [(len(names), lanes) for names, lanes in painted] == [(4, 6), (2, 6)]
    errors = {r["output"]: r["error"] for r in records() if r["error"]}
    assert errors["clear-x.png"] == "content image is transparent everywhere: nothing to paint"
    assert errors["a-glass.png"].startswith("style 1 is transparent everywhere")


def test_a_mixture_that_is_not_of_a_row_s_styles_costs_that_row(batched, folder):
    rows = "photos/a.png,paintings/x.jpg\nphotos/b.png,paintings/x.jpg|paintings/y.jpg\n"
    (folder / "m.csv").write_text("content,style\n" + rows)
    given = ("--manifest", "m.csv", "--out", "out", *SMALL, "--style-mix", "1,2")
    status, out, err = batched(*given)
    assert (status, out) == (1, "out/b-x-y.png\n")
    assert "a-x.png failed: style mix is (1.0, 2.0), expected 1 weight" in err
    status, out, err = batched(*given, "--overwrite", "--quiet", "--json")
    assert (status, err.count("\n")) == (1, 1) and "a-x.png failed: style mix is" in err
    lines = list(map(json.loads, out.splitlines()))
    ended = {line.pop("output"): line for line in lines if line["event"] != "progress"}
    assert set(ended) == {"out/a-x.png"} and ended["out/a-x.png"]["event"] == "failed"
    os.remove("out/b-x-y.png")
    status, out, _ = batched(*given, "--quiet", "--json")
    (saved,) = [line for line in map(json.loads, out.splitlines()) if line["event"] == "saved"]
    assert saved["output"] == "out/b-x-y.png" and saved["losses"]["total"] > 0
    assert saved["styles"] == ["paintings/x.jpg", "paintings/y.jpg"] and saved["evaluations"] > 0


def test_a_row_without_a_finite_loss_costs_only_itself(batched, folder, painted):
    rows = "photos/a.png,paintings/x.jpg,\nphotos/b.png,paintings/x.jpg,1e30\n"
    (folder / "m.csv").write_text("content,style,style-weight\n" + rows)
    heavy = "relu1_1:1e12"  # times 1e30 more than float32 holds
    given = ("--manifest", "m.csv", "--out", "out", *SIDE_BY_SIDE, "--style-layers", heavy)
    status, out, err = batched(*given)
    assert (status, out, len(painted)) == (1, "out/a-x.png\n", 1)
    assert err.count("b-x.png failed: no step had a finite loss") == 1


def test_nothing_but_bad_files_is_an_error_for_each(batched, folder):
    for path in (folder / "photos").glob("*.png"):
        path.write_bytes(b"no picture")
    status, out, err = batched(*FOLDERS, *SMALL)
    assert (status, out) == (1, "") and "0 pictures in" in err and "6 failed" in err


def test_a_batch_too_large_for_memory_is_halved(batched, monkeypatch):
    from jaxnst.transfer import batch as batches

    sizes, plain = [], batches.stylize_batch

    def limited(contents, *arguments, **more):
        sizes.append(len(contents))
        if len(contents) > 1:
            raise RuntimeError("RESOURCE_EXHAUSTED: out of memory")
        return plain(contents, *arguments, **more)

    monkeypatch.setattr(batches, "stylize_batch", limited)
    status, out, _ = batched(*FOLDERS, *SIDE_BY_SIDE, "--quiet")
    assert status == 0 and len(out.split()) == 6
    assert sizes == [6, 3, 2, *[1] * 6]
    assert {r["lanes"] for r in records()} == {1}


def test_batches_painted_two_at_a_time_are_halved_together(batched, monkeypatch):
    """Each row is painted once, in whatever order the batches end."""
    sizes, painted = [], []

    class Two(engine.LocalEngine):
        workers = 2

        def paint(self, order, tell):
            sizes.append(len(order.contents))
            if len(order.contents) == 3 and len(sizes) == 2:  # the other three are painted
                raise MemoryError
            painted.extend(order.only)
            return super().paint(order, tell)

    monkeypatch.setattr(engine, "LocalEngine", Two)
    status, out, _ = batched(*FOLDERS, *SIDE_BY_SIDE, "--quiet")
    assert status == 0 and len(set(out.split())) == len(out.split()) == len(painted) == 6
    assert sorted(sizes) == [2, 2, 3, 3]  # one lane of four repeats another
    assert [r["lanes"] for r in records()].count(3) == 3


def test_without_ray_its_engine_is_refused_in_one_line(batched, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    status, out, err = batched(*FOLDERS, *SMALL, "--engine", "ray", "--quiet")
    assert (status, out) == (2, "")
    assert err.endswith("error: --engine ray needs Ray: pip install 'jaxnst[ray]'\n")
    assert err.count("\n") == 1


def test_an_error_in_a_batch_costs_only_that_batch(batched, monkeypatch):
    from jaxnst.transfer import batch as batches

    plain = batches.stylize_batch

    def broken(contents, *arguments, **more):
        if contents[0].shape == (64, 48, 3):
            raise RuntimeError("the device is gone")
        return plain(contents, *arguments, **more)

    monkeypatch.setattr(batches, "stylize_batch", broken)
    status, out, err = batched(*FOLDERS, *SMALL, "--at-once", "2")
    assert status == 1 and len(out.split()) == 4 and "the device is gone" in err


def test_a_batch_whose_program_fails_is_not_tried_for_every_row(batched, painted, monkeypatch):
    from jaxnst.transfer import batch as batches

    def broken(*arguments, only, **more):
        tried.append(len(only))
        raise RuntimeError("the device is gone")

    tried = []
    monkeypatch.setattr(batches, "stylize_batch", broken)
    status, out, err = batched(*FOLDERS, *SIDE_BY_SIDE)
    assert (status, out) == (1, "") and err.count("failed: RuntimeError: the device is gone") == 6
    assert tried == [6, 3, 1, 2, 1]


def test_a_row_that_fails_in_a_batch_costs_only_itself(batched, painted, monkeypatch):
    """The others come out as if it had not failed, to the byte."""
    from jaxnst.transfer import batch as batches

    assert batched(*FOLDERS, *SIDE_BY_SIDE, "--quiet")[0] == 0
    whole = {name: load_image(f"out/{name}") for name in made() if name != "b-y.png"}
    plain = batches.stylize_batch

    def broken(*arguments, only, **more):
        if 3 in only:
            raise RuntimeError("not that one")
        return plain(*arguments, only=only, **more)

    monkeypatch.setattr(batches, "stylize_batch", broken)
    del painted[:]
    status, out, err = batched(*FOLDERS[:-1], "again", *SIDE_BY_SIDE)
    assert status == 1 and len(out.split()) == 5 and err.count("failed: RuntimeError: not") == 1
    assert [(len(names), lanes) for names, lanes in painted] == [(n, 6) for n in (6, 3, 3, 1, 2)]
    assert {r["lanes"] for r in records("again") if not r["error"]} == {6}
    for name, picture in whole.items():
        np.testing.assert_array_equal(load_image(f"again/{name}"), picture)


def test_a_name_that_cannot_be_written_is_refused_before_anything_is_painted(batched, folder):
    os.remove("photos/notes.txt")
    (folder / "out/a-x.png").mkdir(parents=True)
    words = "out/a-x.png is a folder: name a file in it"
    assert batched(*FOLDERS, *SMALL) == (1, "", f"jaxnst batch: error: {words}\n")
    (folder / "out/a-x.png").rmdir()
    long = "a" * 130  # each is fine, both are too much
    os.rename("photos/tall.png", f"photos/{long}.png")
    os.rename("paintings/y.jpg", f"paintings/{long}.jpg")
    words = f"out/{long}-{long}.png cannot be written (File name too long): choose another name"
    assert batched(*FOLDERS, *SMALL) == (1, "", f"jaxnst batch: error: {words}\n")
    assert not list((folder / "out").iterdir())


def test_a_picture_that_cannot_be_saved_is_kept_elsewhere(batched, folder, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    plain = outputs.save_image

    def full(path, *image, **more):
        if os.path.basename(os.path.dirname(path)) == "out":
            raise OSError(28, "No space left on device", str(path))
        plain(path, *image, **more)

    monkeypatch.setattr(outputs, "save_image", full)
    status, out, err = batched(*FOLDERS, *SMALL)
    kept = sorted(path.name for path in folder.glob("jaxnst-*/*"))
    assert (status, out) == (1, "") and kept == [
        f"{c}-{s}.png" for c in ("a", "b", "tall") for s in ("x", "y")
    ]
    assert err.count("No space left on device; the picture is in ") == 6


# Going on.


def test_a_log_cut_short_is_gone_on_with(batched, folder):
    assert batched(*FOLDERS, *SMALL, "--quiet")[0] == 0
    log = folder / "out/results.jsonl"
    whole = log.read_bytes()
    log.write_bytes(b"nonsense\n[1]\n{}\n" + whole[: len(whole) - 40])
    status, out, err = batched(*FOLDERS, *SMALL)
    assert status == 0 and "5 of them already painted" in err and len(out.split()) == 1
    assert "6 of them already painted" in batched(*FOLDERS, *SMALL)[2]


# What is refused.


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--out", "out"), "give the pictures as --contents WHERE --styles WHERE, or as --manif"),
        (("--out", "out", "--contents", "photos"), "give the pictures as --contents WHERE"),
        ((*FOLDERS, "--manifest", "m.csv"), "leave out --contents and --styles"),
        ((*FOLDERS[:-1], "photos"), "-o photos contains inputs: use another folder"),
        (("--contents", "no", "--styles", "photos", "--out", "out"), "no does not exist"),
        (("--contents", "photos", "--styles", "none*", "--out", "out"), "--styles: there is no"),
        ((*FOLDERS[:-1], "photos/a.png"), "-o photos/a.png is a file, expected a folder for"),
        ((*FOLDERS, "--shard", "0/3"), "'0/3' is not a shard"),
        ((*FOLDERS, "--shard", "3"), "'3' is not a shard"),
        ((*FOLDERS, "--at-once", "0"), "--at-once"),
        ((*FOLDERS, "--ending", ".gif"), "--ending"),
        ((*FOLDERS, "--workers", "2"), "--address and --workers are for --engine ray"),
        ((*FOLDERS, "--engine", "dask"), "--engine"),
        ((*FOLDERS, "--timings"), "--timings only works with jaxnst run"),
        ((*FOLDERS, "more.png"), "give the pictures as --contents"),
        ((*FOLDERS, "--init", "photos/a.png"), "a batch starts from content, noise, style"),
        ((*FOLDERS, "--style-wieght", "3"), "unknown flag --style-wieght"),
        ((*FOLDERS, "--style-weight", "-3"), "style weight is -3"),
        ((*FOLDERS, "--network", "vgg"), "unknown network"),
    ],
)
def test_wrong_flags_are_one_line_and_leave_nothing(batched, folder, arguments, words):
    status, out, err = batched(*arguments, "--quiet")
    assert (status, out) == (2, "") and words in err, err
    assert re.fullmatch(r"jaxnst batch: error: .+\n", err)
    assert not list(folder.rglob("out/*"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("content,style\n", "has no rows"),
        ("content,style\na.png,\n", "line 2: expected a content and a style"),
        ("content,style,device\na.png,b.png,3\n", "line 2: unknown column 'device'"),
        (
            "content,style,style_size\na.png,b.png,3\n",
            "line 2: unknown column 'style_size': did you mean 'style-size'? expected one of c",
        ),
        ("content,style,output\na.png,b.png,../c.png\n", "output '../c.png' is not a plain file"),
        ("content,style,output\na.png,b.png,c.gif\n", "none of the extensions"),
        (
            "content,style\na.png,b.png\nA/a.png,b.png\n",
            "would be made twice, from m.csv, line 2 and from m.csv, line 3",
        ),
        ('content,style\n"a.png,b.png\n', "is not valid CSV or JSON Lines: line 2: "),
        ('{"content": 3, "style": "b.png"}', "expected a content and a style"),
        ('{"content": "a.png", "style": [1]}', "are not paths"),
        ("[1, 2]", "line 1: [1, 2] is not a row"),
        (
            '{"content": "a.png", "style": "b.png"}\n\n{',
            "is not valid CSV or JSON Lines: line 3: Expecting",
        ),
        ("[" * 100_000, "is not valid CSV or JSON Lines"),
    ],
)
def test_what_is_wrong_with_a_manifest_is_one_line(folder, text, words):
    name = "m.jsonl" if text[0] in "{[" else "m.csv"
    (folder / name).write_text(text)
    with pytest.raises(UsageError) as raised:
        rows.read_manifest(name, "out", ".png")
    assert words in str(raised.value) and name in str(raised.value) + name
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("seed", "many", "--seed: 'many' is not a whole number"),
        ("seed", "-1", "--seed: -1 is out of range"),
        ("seed", 1.5, "--seed: '1.5' is not a whole number"),
        ("style-weight", "-3", "style weight is -3.0"),
        ("content-weight", "1e99", "content weight is 1e+99"),
        ("tv-weight", "nan", "total variation weight is nan"),
        ("learning-rate", "0", "learning rate is 0.0"),
        ("learning-rate", [1], "--learning-rate: '[1]' is not a number"),
        ("output", "c.png", "--quality is for JPEG, WebP and AVIF"),
        ("colors", "blue", "--colors: invalid choice: 'blue'"),
        ("size", 8, "--size: 8 is out of range, expected 16 to 16384"),
        ("init", "a.png", "--init: a batch starts from content, noise"),
        ("recipe", "defalt", "--recipe: unknown recipe 'defalt': did you mean 'default'?"),
        ("recipe", "none.toml", "--recipe: none.toml does not exist"),
        (
            "recipe",
            "gatys2016",
            "the recipe gatys2016 is for vgg19, that of the first row for vgg16-lite: give one",
        ),
    ],
)
@pytest.mark.parametrize("name", ["m.csv", "m.jsonl"])
def test_a_bad_value_in_a_manifest_names_its_line_before_anything_is_painted(
    batched, folder, name, column, value, words
):
    plain = {"content": "photos/a.png", "style": "paintings/x.jpg", "output": "a.jpg"}
    bad = {**plain, "output": "b.jpg", column: value}
    if name == "m.csv":
        lines = [",".join(bad), ",".join({**dict.fromkeys(bad, ""), **plain}.values())]
        lines.append(",".join(map(str, bad.values())))
    else:
        lines = ["", json.dumps({**plain, column: None} if column != "output" else plain)]
        lines.append(json.dumps(bad))
    (folder / name).write_text("\n".join(lines))
    status, out, err = batched("--manifest", name, "--out", "out", "--quality", "9", *SMALL)
    assert (status, out) == (2, "") and not (folder / "out").exists()
    assert f"jaxnst batch: error: {name}, line 3: {words}" in err and err.count("\n") == 1


def test_what_is_wrong_with_the_command_is_no_line_s_fault(batched, folder):
    (folder / "m.csv").write_text("content,style,seed\nphotos/a.png,paintings/x.jpg,3\n")
    status, _, err = batched("--manifest", "m.csv", "--out", "out", "--style-weight", "-3")
    assert status == 2 and err.startswith("jaxnst batch: error: style weight is -3")


def test_seeds_without_effect_are_given_notice_of_once(batched, folder):
    (folder / "m.csv").write_text(
        "content,style,output,seed\n"
        + "".join(f"photos/a.png,paintings/x.jpg,{i}.png,{i}\n" for i in range(3))
    )
    given = ("--manifest", "m.csv", "--out", "out", *SMALL)
    err = batched(*given, "--seed", "4")[2]
    assert err.count("notice: --seed has no effect on a start from content") == 1
    (folder / "m.csv").write_text("content,style\nphotos/a.png,paintings/x.jpg\n")
    assert "--seed" not in batched(*given)[2]


def test_sizes_are_read_from_headers_upright(folder):
    from PIL import Image

    assert image_size("photos/tall.png") == (64, 48)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 20)).save("turned.jpg", exif=exif)
    assert image_size("turned.jpg") == (30, 20) == load_image("turned.jpg").shape[:2]
    with pytest.raises(FileNotFoundError):
        image_size("missing.jpg")


@pytest.fixture
def painted(monkeypatch):
    """Rows of every batch that is painted, and its lanes."""
    seen, plain = [], work.Work.paint

    def watch(self, batch, pictures, rows, *more):
        seen.append(([batch.bucket.tasks[i].row.output for i in rows], batch.lanes))
        return plain(self, batch, pictures, rows, *more)

    monkeypatch.setattr(work.Work, "paint", watch)
    return seen


def test_batches_are_of_one_shape_and_of_one_size_for_each(batched, painted):
    assert batched(*FOLDERS, *SMALL, "--size", "48", "--at-once", "3", "--quiet")[0] == 0
    assert [(len(names), lanes) for names, lanes in painted] == [(2, 2), (2, 2), (2, 2)]
    assert all("tall" in name for name in painted[2][0])
    assert {r["lanes"] for r in records()} == {2}
    del painted[:]
    assert batched(*FOLDERS, *SMALL, "--at-once", "5", "--quiet", "--overwrite")[0] == 0
    assert [(len(names), lanes) for names, lanes in painted] == [(3, 3), (3, 3)]


def test_what_is_left_is_painted_in_the_lanes_that_it_had(batched, painted, monkeypatch):
    """Byte-identical, whatever of it is left, and whatever memory there is by then."""
    assert batched(*FOLDERS, *SIDE_BY_SIDE, "--quiet")[0] == 0
    whole = {name: load_image(f"out/{name}") for name in made()}
    for name in ("a-y.png", "tall-y.png"):
        os.remove(f"out/{name}")
    monkeypatch.setattr(job, "available_memory", lambda device: 1)
    del painted[:]
    assert batched(*FOLDERS, *SMALL, "--quiet")[0] == 0
    assert painted == [(["out/a-y.png", "out/tall-y.png"], 6)]
    for name, picture in whole.items():
        np.testing.assert_array_equal(load_image(f"out/{name}"), picture)


def test_on_a_cpu_pictures_are_painted_one_by_one_in_the_program_of_a_single_run(batched, painted):
    status, out, _ = batched(*FOLDERS, *SMALL)
    assert status == 0 and painted == [([name], 1) for name in out.split()]
    assert {(r["lanes"], r["rows"]) for r in records()} == {(1, 6)}
    single = ("photos/a.png", "paintings/y.jpg", "-o", "single.png", "--quiet")
    assert cli.main(["run", *single, *SMALL]) == 0
    before = load_image("out/a-y.png")
    np.testing.assert_array_equal(before, load_image("single.png"))
    os.remove("out/a-y.png")
    assert batched(*FOLDERS, *SMALL)[0] == 0
    np.testing.assert_array_equal(load_image("out/a-y.png"), before)


@pytest.mark.parametrize(("threads", "lanes"), [(2, 3), (None, 24)])
def test_accelerators_paint_eight_pictures_side_by_side_each(threads, lanes):
    assert work.usual_lanes(SimpleNamespace(threads=threads, devices=3)) == lanes


def test_another_number_of_threads_is_reported_when_a_batch_goes_on(batched, monkeypatch):
    one = ("--contents", "photos/a.png", "--styles", "paintings", "--out", "out", *SMALL)
    assert "threads" not in batched(*one)[2]
    here = threads_of(jax.devices("cpu")[0])
    assert [record["threads"] for record in records()] == [here, here]
    os.remove("out/a-x.png")
    assert "threads" not in batched(*one)[2]
    os.remove("out/a-x.png")
    monkeypatch.setattr(engine, "threads_of", lambda _: 99)
    err = batched(*one)[2]
    assert f"were painted on {here} threads of a CPU, the rest will be on 99" in err


def test_more_rows_of_a_kind_are_a_new_batch(batched, painted):
    """What was painted alone does not make all that come later be painted alone."""
    alone = ["--contents", "photos/a.png", "--styles", "paintings/x.jpg", *FOLDERS[-2:]]
    assert batched(*alone, *SMALL)[0] == batched(*FOLDERS, *SIDE_BY_SIDE)[0] == 0
    assert [names for names, lanes in painted if lanes == 1] == [["out/a-x.png"]]
    assert {r["rows"] for r in records()[1:]} == {6}


def test_a_size_of_which_not_one_fits_fails_in_one_line_for_each(batched, painted):
    status, out, err = batched(*FOLDERS, *SMALL, "--max-memory", "1MB")
    assert (status, out) == (1, "") and not painted
    assert "needs about" in err and "use a smaller --size" in err
    assert len(records()) == 6 and all(r["error"] for r in records())


def test_large_pictures_leave_memory_for_fewer_lanes(batched, painted, monkeypatch, folder):
    """A lane's content and style of a million pixels each take 24 bytes for each of them."""
    asked = []

    def most(engine, schedule, recipe, allowed, pictures):
        asked.append((allowed, pictures))
        return 1

    monkeypatch.setattr("jaxnst.cli.engine.LocalEngine.most", most)
    for name in ("photos/a.png", "paintings/x.jpg"):
        save_image(folder / name, np.full((1000, 1000, 3), 0.5, np.float32))
    given = ["--contents", "photos/a.png", "--styles", "paintings/x.jpg", *FOLDERS[-2:]]
    assert batched(*given, *SMALL, "--max-memory", "3GB", "--quiet")[0] == 0
    assert asked == [(3_000_000_000, 48_000_000)]


def test_a_picture_that_breaks_on_reading_leaves_its_lane_to_a_copy(batched, painted, monkeypatch):
    assert batched(*FOLDERS, *SIDE_BY_SIDE, "--quiet")[0] == 0
    whole = {name: load_image(f"out/{name}") for name in made()}
    plain = work.load_image

    def broken(path, **more):
        if path.endswith("a.png"):
            raise ValueError(f"{path} is damaged")
        return plain(path, **more)

    monkeypatch.setattr(work, "load_image", broken)
    del painted[:]
    status, out, err = batched(*FOLDERS[:-1], "again", *SIDE_BY_SIDE)
    assert status == 1 and len(out.split()) == 4 and "2 failed" in err
    names = [f"again/{name}.png" for name in ("b-x", "b-y", "tall-x", "tall-y")]
    assert painted == [(names, 6)]
    for name in ("b-x.png", "b-y.png", "tall-x.png"):
        np.testing.assert_array_equal(load_image(f"again/{name}"), whole[name])
