"""Stopping and going on: the same bytes, and files that are not what they should be."""

import dataclasses
import json
import re
import threading

import helpers
import numpy as np
import pytest
import safetensors.numpy

from jaxnst.cli.messages import Messages
from jaxnst.cli.watching import Keeper
from jaxnst.losses.objective import TERMS
from jaxnst.networks import PREPROCESSING
from jaxnst.recipes.schema import Scales, Solver
from jaxnst.transfer import checkpoint, runner
from jaxnst.transfer.checkpoint import load_checkpoint, save_checkpoint
from jaxnst.transfer.fingerprint import surroundings, warn_of_other_environment
from jaxnst.transfer.guidance import Guidance
from jaxnst.transfer.result import Progress
from jaxnst.transfer.run import Run
from jaxnst.transfer.runner import Programs
from jaxnst.transfer.stylize import stylize

CONTENT, STYLE, OTHER = (
    helpers.picture(32, 48, 1),
    helpers.picture(40, 36, 2),
    helpers.picture(20, 30),
)
SCALES = Scales(sides=(32, 48), evaluations=(5, 4))
RECIPES = {
    "lbfgs": helpers.tiny_recipe(scales=SCALES, solver=Solver(memory=2, round=4, precondition=0.0)),
    "adam": helpers.tiny_recipe(
        scales=SCALES,
        solver=Solver(kind="adam", average=0.8, carry=True),
        bounds=(0.0, 1.0),
        init="noise",
    ),
}


@pytest.fixture(scope="module")
def network():
    return helpers.tiny_network(PREPROCESSING["imagenet"], name="tiny of the checkpoints")


@pytest.fixture(autouse=True)
def _one_step_one_call(monkeypatch):
    monkeypatch.setattr(runner, "CHUNK_SECONDS", 0.0)


def run(network, recipe, **more):
    return stylize(CONTENT, STYLE, network=network, recipe=recipe, **more)


def run_with_checkpoints(network, recipe, **more):
    found = []
    result = run(network, recipe, callback=lambda p: found.append((p, p.checkpoint())), **more)
    return result, found


@pytest.fixture(scope="module")
def whole(network):
    """An undisturbed run of L-BFGS, and where it was at every call."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "CHUNK_SECONDS", 0.0)
        return run_with_checkpoints(network, RECIPES["lbfgs"])


@pytest.fixture
def file(whole, tmp_path):
    """A checkpoint of the second scale."""
    path = tmp_path / "run.ck"
    save_checkpoint(path, whole[1][8][1])
    return path


# The same bytes.


@pytest.mark.parametrize("name", RECIPES)
def test_going_on_from_anywhere_ends_as_if_it_had_never_stopped(name, network, tmp_path):
    undisturbed, found = run_with_checkpoints(network, RECIPES[name])
    again, _ = run_with_checkpoints(network, RECIPES[name])
    assert again.image.tobytes() == undisturbed.image.tobytes(), "no run is like another"
    places = [(p.phase, p.scale, p.evaluations) for p, _ in found]
    assert places == [
        ("compile", 0, 0),
        *(("optimize", 0, i) for i in range(1, 6)),
        ("compile", 1, 0),
        *(("optimize", 1, i) for i in range(1, 5)),
    ]
    for (phase, scale, count), (progress, there) in zip(places, found, strict=True):
        assert (there.scale, there.evaluations[-1], there.done) == (
            scale,
            count,
            progress.total_done,
        )
        assert len(there.losses) == progress.total_done
        save_checkpoint(tmp_path / "run.ck", there)
        heard = []
        result = run(
            network,
            RECIPES[name],
            resume=load_checkpoint(tmp_path / "run.ck"),
            callback=lambda p, heard=heard: heard.append((p.scale, p.evaluations)),
        )
        assert result.image.tobytes() == undisturbed.image.tobytes()
        for term in TERMS:
            assert result.losses[term].tobytes() == undisturbed.losses[term].tobytes()
        assert (result.evaluations, result.restarts) == (9, undisturbed.restarts)
        assert [t.evaluations for t in result.timings] == [5, 4]
        assert [t.size for t in result.timings] == [t.size for t in undisturbed.timings]
        # Nothing is done twice.
        later = [(s, n) for _, s, n in places if (s, n) > (scale, count)]
        assert [place for place in heard if place > (scale, count)] == later, phase


def test_a_stop_in_the_middle_of_a_stop_costs_nothing_either(network, whole):
    """From a run that has itself been gone on with."""
    undisturbed, found = whole
    _, later = run_with_checkpoints(network, RECIPES["lbfgs"], resume=found[3][1])
    result = run(network, RECIPES["lbfgs"], resume=later[-2][1])
    assert result.image.tobytes() == undisturbed.image.tobytes()
    assert result.run_seconds >= sum(ran for _, ran in later[-2][1].seconds)


def test_a_checkpoint_tells_of_the_moment_it_is_asked_for(network):
    """Also when the one who asks has been told long ago: its state's memory is another's now."""
    heard = []
    run(network, RECIPES["lbfgs"], callback=heard.append)
    assert heard[2].checkpoint().done == heard[-1].checkpoint().done == 9


@pytest.mark.parametrize("failing", ["begin", "advance"])
def test_a_run_that_fails_with_half_a_state_leaves_the_file_as_it_was(
    network, tmp_path, monkeypatch, failing
):
    keeper = Keeper(str(tmp_path / "run.ck"), 0, Messages("jaxnst-run", quiet=True))
    work = getattr(Programs, failing)

    def out_of_memory(self, *given, **more):
        done = work(self, *given, **more)  # the memory of the solver before is used again
        compiling = threading.current_thread() is not threading.main_thread()
        if not compiling and keeper.last is not None and keeper.last.total_done == 5:
            raise MemoryError
        return done

    monkeypatch.setattr(Programs, failing, out_of_memory)
    with pytest.raises(MemoryError):
        run(network, RECIPES["lbfgs"], callback=keeper)
    before = (tmp_path / "run.ck").read_bytes()
    with pytest.raises(ValueError, match="an earlier checkpoint is unchanged"):
        keeper.close(None)
    assert (tmp_path / "run.ck").read_bytes() == before
    monkeypatch.undo()
    resume = load_checkpoint(tmp_path / "run.ck")
    assert run(network, RECIPES["lbfgs"], resume=resume).evaluations == 9


def test_every_is_counted_from_the_beginning(network, whole, monkeypatch):
    monkeypatch.setattr(runner, "CHUNK_SECONDS", 1e9)
    heard = []
    run(network, RECIPES["lbfgs"], resume=whole[1][2][1], every=4, callback=heard.append)
    assert {4, 8} <= {p.total_done for p in heard}


def test_a_progress_of_no_run_has_no_checkpoint():
    with pytest.raises(ValueError, match="belongs to no run"):
        Progress("compile", 0, 1, (1, 1), 0, 1, 0, 1, {}, lambda: None, 0.0).checkpoint()


# Other settings.


def changed(**parts):
    recipe = RECIPES["lbfgs"]
    for part, values in parts.items():
        recipe = dataclasses.replace(
            recipe, **{part: dataclasses.replace(getattr(recipe, part), **values)}
        )
    return recipe


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"recipe": changed(style={"weight": 7.0})}, "its style.weight is 5.0, this one 7.0"),
        ({"recipe": changed(solver={"memory": 3})}, "its solver.memory is 2, this one 3"),
        ({"recipe": changed(scales={"evaluations": (5, 9)})}, "its scale 2 is "),
        ({"recipe": changed(scales={"sides": (32, 40, 48)})}, "its scale 2 is "),
        ({"recipe": changed(scales={"sides": (48,)})}, "its scale 1 is "),
        ({"content": OTHER}, "its content picture is another"),
        ({"styles": [STYLE, OTHER]}, "its style 2 picture is another"),
        ({"init": OTHER}, "its init"),
        ({"style_mix": (2.0,)}, "its style mix is "),
        ({"masks": [np.eye(32, 48)]}, "its mask 1 is another"),
        ({"seed": 3}, "its seed is 0, this one 3"),
        ({"precision": "bfloat16"}, "its precision is float32, this one bfloat16"),
        ({"network": 5}, "its network's parameters is another"),
    ],
    ids=lambda v: str(v)[:40],
)
def test_a_run_of_other_settings_is_refused_before_any_work(network, whole, more, words):
    if "network" in more:
        more = {"network": helpers.tiny_network(network.preprocessing, seed=5, name=network.name)}
    given = {"content": CONTENT, "styles": STYLE, "network": network, "recipe": RECIPES["lbfgs"]}
    called = []
    with pytest.raises(ValueError) as raised:
        stylize(**{**given, **more}, resume=whole[1][4][1], callback=called.append)
    assert words in str(raised.value) and "\n" not in str(raised.value)
    assert not called


def test_names_and_ways_to_the_same_sizes_are_no_settings(network, whole):
    recipe = dataclasses.replace(RECIPES["lbfgs"], name="other", summary="Another.")
    plain = dataclasses.replace(SCALES, sides=None, least=32, factor=1.5)
    recipe = dataclasses.replace(recipe, scales=plain)
    result = run(network, recipe, resume=whole[1][4][1])
    assert result.image.tobytes() == whole[0].image.tobytes()


def test_other_versions_and_machines_are_warned_of(network, whole):
    there = whole[1][4][1]
    there = there._replace(surroundings={**there.surroundings, "jax": "0.1", "remat": "True"})
    with pytest.warns(
        UserWarning, match=r"began in another environment \(jax 0\.1 -> .*, remat True -> False\)"
    ):
        result = run(network, RECIPES["lbfgs"], resume=there)
    assert result.image.tobytes() == whole[0].image.tobytes()


def test_another_number_of_threads_is_warned_of(whole):
    there = whole[1][4][1].surroundings
    assert there["threads"] == surroundings()["threads"]
    with pytest.warns(UserWarning, match=r"began in another environment \(threads 99 -> \d+\)"):
        warn_of_other_environment({**there, "threads": "99"}, {**surroundings(), "remat": "False"})


def test_going_on_without_jaxopt_is_warned_of(network, whole, monkeypatch):
    there = whole[1][4][1]
    assert {"jaxopt", "optax"} <= there.surroundings.keys()
    monkeypatch.setattr("jaxnst.optim.lbfgs.jaxopt", lambda: None)
    with pytest.warns(UserWarning, match=r"another environment \(jaxopt [\d.]+ -> missing\)"):
        warn_of_other_environment(there.surroundings, {**surroundings(), "remat": "False"})


def test_mixtures_are_told_apart_by_what_they_are(network):
    """Not by the order in which layers are named."""
    mix = {"": (1.0,), "relu1_1": (2.0,)}
    first, second = (
        Run(CONTENT, [STYLE], network=network, recipe=RECIPES["lbfgs"], guidance=Guidance(given))
        for given in (mix, dict(reversed(mix.items())))
    )
    assert first.settings == second.settings


# Files.


def refused(path, *words):
    """One line that names the file and says what to do; the file is as it was."""
    before = path.read_bytes()
    with pytest.raises((ValueError, OSError)) as raised:
        load_checkpoint(path)
    text = str(raised.value)
    assert path.name in text and "\n" not in text and len(text) < 400
    assert all(word in text for word in words), text
    assert path.read_bytes() == before


def test_a_file_holds_all_of_it(file, whole):
    there, found = whole[1][8][1], load_checkpoint(file)
    assert set(found.state) == set(there.state) and len(found.state) > 10
    for name, array in there.state.items():
        assert found.state[name].dtype == array.dtype and found.state[name].shape == array.shape
        assert found.state[name].tobytes() == array.tobytes()
    assert found.losses.tobytes() == there.losses.tobytes()
    rest = ("scale", "evaluations", "seconds", "restarts", "settings", "surroundings")
    assert all(getattr(found, name) == getattr(there, name) for name in rest)


def test_a_file_that_is_cut_short_is_refused(file):
    data = file.read_bytes()
    for length in (1, 7, 8, 9, 200, len(data) // 2, len(data) - 1):
        file.write_bytes(data[:length])
        refused(file, "cut short or not a checkpoint", "delete it to start over")
    file.write_bytes(b"")
    refused(file, "is empty")
    file.write_bytes(data)
    load_checkpoint(file)


def test_a_single_wrong_bit_is_seen(file, rng):
    data = file.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    for at in (*rng.integers(start, len(data), 8), *rng.integers(8, start, 8)):
        wrong = bytearray(data)
        wrong[at] ^= 1
        file.write_bytes(wrong)
        refused(file)


def test_what_is_no_file_or_no_checkpoint_is_refused(file, tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        load_checkpoint(tmp_path / "none.ck")
    with pytest.raises(IsADirectoryError):
        load_checkpoint(tmp_path)
    file.write_bytes(safetensors.numpy.save({"conv1_1/kernel": np.zeros((3, 3, 3, 4), np.float32)}))
    refused(file, "is not a checkpoint of jaxnst")
    file.write_bytes(b"\x80\x04\x95" + bytes(100))  # as pickles begin
    refused(file)
    file.write_bytes((2**60).to_bytes(8, "little") + b"{" + bytes(100))
    refused(file)
    header = {"state.point": {"dtype": "F32", "shape": [2**40, 2**20], "data_offsets": [0, 2**62]}}
    text = json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text)
    refused(file)


def test_a_file_of_another_version_is_refused(file, monkeypatch, whole):
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "FORMAT", "jaxnst-checkpoint-3")
        save_checkpoint(file, whole[1][8][1])
    refused(file, "jaxnst-checkpoint-2", "version of jaxnst that wrote it")


POISON = [
    ({"losses": np.zeros(3, np.float32)}, {}, "losses are not a table"),
    ({"state.point": np.full((2, 2, 3), np.inf, np.float32)}, {}, "state.point is not finite"),
    ({"state.terms": np.full(4, np.nan, np.float32)}, {}, "state.terms is not finite"),
    ({"other": np.zeros(3)}, {}, "unknown arrays"),
    ({}, {"scale": -1}, "count"),
    ({}, {"scale": 0}, "counts are not those"),
    ({}, {"restarts": "1"}, "count"),
    ({}, {"evaluations": [5, 2**40]}, "count"),
    ({}, {"evaluations": 5}, "is inconsistent"),
    ({}, {"seconds": [["a", 1.0]] * 2}, "is inconsistent"),
    ({}, {"settings": []}, "is inconsistent"),
]


@pytest.mark.parametrize(("arrays", "words", "message"), POISON, ids=lambda v: str(v)[:30])
def test_what_no_run_has_written_is_refused_whatever_its_digest(file, arrays, words, message):
    rewrite(file, arrays, words)
    refused(file, message)


def rewrite(file, arrays, words):
    """Change what is in a file, and let its digest agree."""
    with safetensors.safe_open(file, framework="numpy") as opened:
        said = opened.metadata()
        found = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
    found |= arrays
    run = json.dumps(json.loads(said["run"]) | words)
    said |= {"run": run, "digest": checkpoint._digest(run, found)}
    file.write_bytes(safetensors.numpy.save(found, said))


@pytest.mark.parametrize(
    ("arrays", "words", "message"),
    [
        ({"state.point": np.zeros((9, 9, 3), np.float32)}, {}, r"float32 \(9, 9, 3\) as point"),
        ({"state.point": np.zeros((32, 48, 3))}, {}, r"float64 \(32, 48, 3\) as point"),
        ({"state.more": np.zeros(3, np.float32)}, {}, r"as more, expected nothing"),
        ({"state.evaluations": np.int32(3)}, {}, "is inconsistent"),
        ({"losses": np.zeros((7, 2), np.float32)}, {}, "does not fit this"),
        (
            {},
            {"scale": 2, "evaluations": [5, 4, 1], "seconds": [[0, 0]] * 3},
            "does not fit this",
        ),
    ],
    ids=lambda v: str(v)[:30],
)
def test_a_state_that_is_not_the_run_s_is_refused(file, network, arrays, words, message):
    rewrite(file, {name: np.asarray(array) for name, array in arrays.items()}, words)
    with pytest.raises(ValueError, match=message) as raised:
        run(network, RECIPES["lbfgs"], resume=load_checkpoint(file))
    assert re.fullmatch(r".{20,300}", str(raised.value))


def test_a_checkpoint_that_cannot_be_written_leaves_the_last_one(file, whole, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    before = file.read_bytes()
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(file, whole[1][9][1])
    assert file.read_bytes() == before and [p.name for p in file.parent.iterdir()] == ["run.ck"]


def test_a_checkpoint_for_which_a_disk_has_no_room_leaves_the_last_one(file, whole):
    resource = pytest.importorskip("resource", reason="Windows has no limits of a process")
    before, limits = file.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) - 1000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"run.ck could not be saved .*too large.* free some"):
            save_checkpoint(file, whole[1][9][1])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert file.read_bytes() == before and [p.name for p in file.parent.iterdir()] == ["run.ck"]
