"""Runs whose options change while they go on: what is painted, and that it is painted again."""

import dataclasses

import helpers
import numpy as np
import pytest

import jaxnst
from jaxnst.image import save_image
from jaxnst.image.record import MAX_BYTES, format_record, parse_record
from jaxnst.networks import PREPROCESSING
from jaxnst.optim import solvers
from jaxnst.recipes.schema import Colors, Content, Scales, Solver, Style, TotalVariation
from jaxnst.transfer import runner, style_cache
from jaxnst.transfer.change import recorded
from jaxnst.transfer.checkpoint import load_checkpoint, save_checkpoint
from jaxnst.transfer.fingerprint import OtherSettings
from jaxnst.transfer.run import run_of
from jaxnst.transfer.stylize import stylize

CONTENT, STYLE, OTHER = (
    helpers.picture(32, 48, 1),
    helpers.picture(40, 36, 2),
    helpers.picture(20, 30),
)
RECIPE = helpers.tiny_recipe(
    content=Content(layers=(("relu2_1", 1.0),)),
    style=Style(layers=(("relu1_1", 1.0),)),
    solver=Solver(memory=2, precondition=0.0),
    scales=Scales(sides=(32, 48), multiple=1, evaluations=(5, 6)),
)
LEFT = np.zeros((32, 48), np.float32)
LEFT[:, :24] = 1


@pytest.fixture(scope="module")
def network():
    return helpers.tiny_network(PREPROCESSING["imagenet"], name="tiny of the changes")


@pytest.fixture(autouse=True)
def _one_step_one_call(monkeypatch):
    """Changes that are asked for are applied at once, however fast the run is."""
    monkeypatch.setattr(runner, "CHUNK_SECONDS", 0.0)

    def wait(programs, index):
        for future in filter(None, programs.prepared[index]):
            future.result()
        return True

    monkeypatch.setattr(runner.Programs, "is_ready", wait)


def run(network, *, recipe=RECIPE, **more):
    return stylize(CONTENT, STYLE, network=network, recipe=recipe, **more)


def live(network, wishes, **more):
    """Return a run whose callback asks for options after some evaluations, and what it heard."""
    wishes, heard = dict(wishes), []

    def callback(progress):
        heard.append(progress)
        return wishes.pop(progress.total_done, None) if progress.phase == "optimize" else None

    return run(network, callback=callback, **more), heard


def is_same(one, other):
    assert [c.evaluation for c in one.changes] == [c.evaluation for c in other.changes]
    same = [one.losses[term].tobytes() == other.losses[term].tobytes() for term in one.losses]
    return one.image.tobytes() == other.image.tobytes() and all(same)


def compiled():
    programs = solvers._advance_over, style_cache.targets_of, style_cache.summaries_of
    return [program._cache_size() for program in programs]


# What is painted.


def test_a_weight_changes_the_loss_of_the_same_image_and_compiles_nothing(network):
    run(network)
    before = compiled()
    result, heard = live(network, {7: {"style_weight": 50.0}})
    assert compiled() == before
    assert [(c.evaluation, c.options) for c in result.changes] == [(7, {"style_weight": 50.0})]
    assert [len(p.changes) for p in heard if p.total_done == 7] == [0, 1]
    # The first evaluation after it is that of the image before.
    style, content = result.losses["style"], result.losses["content"]
    np.testing.assert_allclose([style[7], content[7]], [10 * style[6], content[6]], rtol=1e-5)
    assert result.evaluations == 11 and result.losses["total"][-1] < result.losses["total"][7]


def test_a_change_between_two_scales_is_that_of_the_next(network):
    """The same as a run of that scale alone, from what the first one has painted."""
    result, heard = live(network, {5: {"style_weight": 50.0, "tv_weight": 0.0}})
    assert next((p.scale, p.evaluations) for p in heard if p.changes) == (1, 0)
    first = run(
        network,
        recipe=dataclasses.replace(
            RECIPE, scales=Scales(sides=(32,), multiple=1, evaluations=(5,))
        ),
    )
    second = dataclasses.replace(
        RECIPE,
        style=dataclasses.replace(RECIPE.style, weight=50.0),
        tv=TotalVariation(weight=0.0),
        scales=Scales(sides=(48,), multiple=1, evaluations=(6,)),
    )
    alone = run(network, recipe=second, init=first.image)
    np.testing.assert_allclose(result.losses["total"][5:], alone.losses["total"], rtol=1e-4)


def test_more_steps_alone_are_those_of_a_longer_run(network):
    longer = dataclasses.replace(RECIPE.scales, evaluations=(5, 9))
    whole = run(network, recipe=dataclasses.replace(RECIPE, scales=longer))
    result, heard = live(network, {11: {"steps": 14}})
    assert result.image.tobytes() == whole.image.tobytes()
    assert [p.total for p in heard if p.total_done == 12] == [14]
    assert result.timings[1].evaluations == 9


@pytest.mark.parametrize(("count", "counts"), [(3, [3]), (5, [5]), (8, [5, 3])])
def test_a_run_that_has_taken_as_many_steps_ends_there(network, count, counts):
    heard = {}
    run(network, callback=lambda p: heard.setdefault(p.total_done, p.image()) if p.losses else None)
    result = run(network, changes=[jaxnst.Change(count, {"steps": count})])
    assert [timing.evaluations for timing in result.timings] == counts
    assert result.image.tobytes() == heard[count].tobytes()


def test_fewer_steps_are_shared_by_what_is_left(network):
    result = run(network, changes=[jaxnst.Change(2, {"steps": 8})])
    # Of 5 + 6 evaluations, 8 are 4 + 4.
    assert [timing.evaluations for timing in result.timings] == [4, 4]


def test_what_is_asked_for_after_the_end_needs_no_steps(network):
    """The result is recolored; nothing is evaluated."""
    result, _ = live(network, {11: {"colors": Colors(mode="palette")}})
    assert result.evaluations == 11
    whole = run(network, recipe=dataclasses.replace(RECIPE, colors=Colors(mode="palette")))
    np.testing.assert_allclose(result.image, whole.image, atol=1e-6)


def test_outside_of_masks_is_the_content_if_wanted(network):
    """And between 0 and 1 a mixture of both; it may be changed after the end."""
    soft = np.tile(np.linspace(0, 1.5, 48, dtype=np.float32).clip(0, 1), (32, 1))
    painted = run(network, masks=[soft]).image
    shown, _ = live(network, {11: {"outside": "content"}}, masks=[soft])
    np.testing.assert_array_equal(shown.image[:, 0], CONTENT[:, 0])
    np.testing.assert_array_equal(shown.image[:, 32:], painted[:, 32:])
    mixed = soft[..., None] * painted + (1 - soft[..., None]) * CONTENT
    np.testing.assert_allclose(shown.image, mixed, atol=1e-6)
    assert np.abs(painted[:, 0] - CONTENT[:, 0]).max() > 0.01


# Painted again.

CHANGES = {
    "numbers": {2: {"style_weight": 30.0}, 7: {"content_weight": 3.0, "style_scale": 0.6}},
    "between scales": {5: {"style_weight": 30.0}},
    "after the end": {11: {"style_weight": 30.0, "steps": 14}, 14: {"steps": 15}},
    "colors": {6: {"colors": "linear"}},
    "a mask": {6: {"masks": [LEFT]}},
    "another style, mixed": {6: {"styles": [STYLE, OTHER], "style_mix": (1, 3)}},
    "another solver": {4: {"optimizer": "adam"}},
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_live_run_is_repeated_byte_for_byte(network, name):
    result, _ = live(network, CHANGES[name])
    assert [change.evaluation for change in result.changes] == list(CHANGES[name])
    assert is_same(run(network, changes=result.changes), result)
    assert not np.array_equal(run(network).image, result.image)


def test_what_is_asked_for_while_a_change_is_prepared_follows_it_newest_first(network, monkeypatch):
    ready = []
    monkeypatch.setattr(runner.Programs, "is_ready", lambda *_: bool(ready and ready.pop()))
    wishes = {1: {"style_weight": 9.0}, 2: {"style_weight": 10.0}, 3: {"style_weight": 11.0}}

    def callback(progress):
        if progress.total_done in (7, 9) and progress.phase == "optimize":
            ready.append(True)
        return wishes.pop(progress.total_done, None)

    result = run(network, callback=callback)
    weights = [(c.evaluation, c.options["style_weight"]) for c in result.changes]
    assert weights == [(7, 9.0), (9, 11.0)]


def test_a_changed_run_is_resumed_from_anywhere(network, tmp_path):
    changes = [
        jaxnst.Change(3, {"style_weight": 30.0}),
        jaxnst.Change(5, {"optimizer": "adam"}),
        jaxnst.Change(11, {"steps": 13}),
    ]
    found = []
    whole = run(network, changes=changes, callback=lambda p: found.append(p.checkpoint()))
    for there in found:
        save_checkpoint(tmp_path / "run.ck", there)
        again = run(network, changes=changes, resume=load_checkpoint(tmp_path / "run.ck"))
        assert is_same(again, whole)
    with pytest.raises(OtherSettings, match="change 1 is after 3 evaluations: style_weight="):
        run(network, resume=found[0])
    # That of a live run has those that it has behind it.
    _, heard = live(network, {3: {"style_weight": 30.0}})
    there = heard[-1].checkpoint()
    assert there.changes == 1 and run(network, changes=changes[:1], resume=there).evaluations == 11


# What cannot be changed.


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"size": 64}, ValueError, "size cannot change during a run: what can are styles"),
        ({"noise_share": 0.5}, ValueError, "noise_share cannot change"),
        ({"scales": (16, 48)}, ValueError, "scales would change the sizes of the scales"),
        ({"style_wait": 3.0}, TypeError, "did you mean 'style_weight'"),
        ({"style_weight": -1.0}, ValueError, "style weight is -1.0"),
        ({"masks": [LEFT, LEFT], "style_mix": (1, 2)}, ValueError, "expected 1 weight, one for"),
        ({"masks": ["missing.png"]}, FileNotFoundError, "missing.png"),
        ({"styles": []}, ValueError, "styles is empty"),
    ],
)
def test_changes_that_cannot_be_are_errors(network, options, kind, words):
    made = run_of(CONTENT, STYLE, network=network, recipe=RECIPE)
    with pytest.raises(kind, match=words):
        made.changed(options)


def test_a_change_after_no_whole_number_of_evaluations_is_an_error():
    with pytest.raises(ValueError, match=r"evaluation of a change is -1, expected a whole number"):
        jaxnst.Change(-1, {})


def test_masks_may_be_files(network, tmp_path):
    save_image(tmp_path / "left.png", np.repeat(LEFT[..., None], 3, axis=2))
    made = [
        run_of(CONTENT, STYLE, network=network, recipe=RECIPE, masks=masks).settings
        for masks in ([LEFT], [tmp_path / "left.png"], [str(tmp_path / "left.png")])
    ]
    assert made[0] == made[1] == made[2]


# Records.


def test_a_record_has_the_changes_and_the_digests_of_their_files(tmp_path, network):
    path = tmp_path / "left.png"
    save_image(path, np.repeat(LEFT[..., None], 3, axis=2))
    options = {"style_weight": np.float32(3), "masks": [path], "tv": TotalVariation(weight=2.0)}
    change = recorded(jaxnst.Change(7, {**options, "style_layers": (("relu1_1", 1.0),)}))
    source = change.options["masks"][0]
    assert (source.role, source.name, len(source.sha256)) == ("mask", "left.png", 64)
    assert change.options == {
        "style_weight": 3.0,
        "masks": (source,),
        **{"tv_weight": 2.0, "tv_kind": "squared", "tv_chroma": 4.0},
        "style_layers": [["relu1_1", 1.0]],
    }
    record = jaxnst.Record(
        recipe=RECIPE, network="tiny", network_sha256="0" * 64, size=48, changes=(change,)
    )
    assert parse_record(format_record(record)) == record
    assert "changes" not in format_record(dataclasses.replace(record, changes=()))
    made = run_of(CONTENT, STYLE, network=network, recipe=RECIPE)
    again = made.changed({**change.options, "masks": [path]}).settings
    options |= {"style_weight": 3.0, "style_layers": {"relu1_1": 1.0}}
    assert again == made.changed(options).settings
    with pytest.raises(ValueError, match="names the mask by its file, but it is an array"):
        recorded(jaxnst.Change(7, {"masks": [LEFT]}))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ("7", "changes is 7, expected a list"),
        ("[7]", "change is 7, expected a dict"),
        ('[{"evaluation":1}]', "expected a dict with options"),
        ('[{"evaluation":-1,"options":{}}]', "evaluation of a change is -1"),
        ('[{"evaluation":true,"options":{}}]', "evaluation of a change is True"),
        ('[{"evaluation":1,"options":{},"more":1}]', "change's 'more' is unknown"),
        ('[{"evaluation":1,"options":{"masks":"m.png"}}]', "masks is 'm.png', expected a list"),
        ('[{"evaluation":1,"options":{"masks":["m.png"]}}]', "source is 'm.png', expected a dict"),
        ('[{"evaluation":1,"options":{"":1}}]', "name of an option is ''"),
        (f'[{{"evaluation":1,"options":{{"colors":["{"x" * 2000}"]}}}}]', "colors of a change"),
    ],
)
def test_damaged_changes_are_errors_of_one_line(changes, words):
    record = jaxnst.Record(recipe=RECIPE, network="tiny", network_sha256="0" * 64, size=48)
    text = f'{format_record(record)[:-1]},"changes":{changes}}}'
    assert len(text) < MAX_BYTES
    with pytest.raises(ValueError, match=r"^the record is damaged \(") as raised:
        parse_record(text)
    assert words in str(raised.value) and "\n" not in str(raised.value)
