"""What programs that call jaxnst rely on: exit statuses, and JSON as its schemas describe it."""

import json
import re
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from referencing import Registry, Resource

from jaxnst.cli import errors
from jaxnst.cli.manifest import Row
from jaxnst.cli.results_log import ResultsLog
from jaxnst.image import read_record, save_image
from jaxnst.image.record import format_record

DOCS = Path(__file__).parents[1] / "docs"
SHALLOW = (
    "--size",
    "32",
    "--style-layers",
    "relu1_1",
    "--content-layers",
    "relu2_1",
    "--steps",
    "2",
)


@pytest.fixture
def folder(tmp_path, monkeypatch, rng):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "photos").mkdir()
    for name in ("photos/a.png", "photos/b.png", "style.png"):
        save_image(name, rng.uniform(0, 1, (24, 32, 3)).astype(np.float32))
    Path("photos/broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return tmp_path


def schema(name):
    """Read a schema and check that it is one."""
    table = json.loads((DOCS / "schemas" / name).read_text())
    jsonschema.Draft202012Validator.check_schema(table)
    return table


def validate(name, lines):
    """Check lines of JSON, which no reader may find invalid, against a schema."""
    files = {path.name: schema(path.name) for path in (DOCS / "schemas").iterdir()}
    registry = Registry().with_resources(
        [(name, Resource.from_contents(table)) for name, table in files.items()]
    )
    validator = jsonschema.Draft202012Validator(files[name], registry=registry)
    values = [json.loads(line, parse_constant=pytest.fail) for line in lines]
    assert values
    for value in values:
        validator.validate(value)
    return values


def test_events_log_and_record_of_a_run(folder, run):
    status, out, _ = run(
        "photos/a.png", "style.png", "-o", "out.png", "--json", "--log", "run.jsonl", *SHALLOW
    )
    assert status == 0
    events = validate("events.json", out.splitlines())
    assert [event["event"] for event in events][-1] == "saved"
    assert events[-1] | {"output": "out.png", "evaluations": 2, "stopped": False} == events[-1]
    log = validate("run-log.json", Path("run.jsonl").read_text().splitlines())
    assert [{"event": "progress", **line} for line in log] == events[:-1]
    (record,) = validate("record.json", [format_record(read_record("out.png"))])
    assert [source["name"] for source in record["sources"]] == ["a.png", "style.png"]


@pytest.mark.parametrize(
    "command",
    [
        ("batch", "--contents", "photos", "--styles", "style.png", "-o", "out", *SHALLOW),
        ("apply", "great-wave", "photos", "-o", "out", "--size", "32"),
    ],
    ids=lambda command: command[0],
)
def test_events_and_results_of_several_inputs(command, folder, call):
    status, out, _ = call(*command, "--json", "--no-cache")
    assert status == errors.FAILED  # of three inputs, one is broken
    events = validate("events.json", out.splitlines())
    results = validate("results.json", Path("out/results.jsonl").read_text().splitlines())
    for event, error in (("saved", False), ("failed", True)):
        names = [Path(line["output"]).name for line in events if line["event"] == event]
        logged = [line["output"] for line in results if (line["error"] is not None) == error]
        assert sorted(names) == sorted(logged) and len(names) == 2 - error
    (record,) = validate("record.json", [format_record(read_record(next(Path("out").glob("a*"))))])
    assert "a.png" in [source["name"] for source in record["sources"]]


def test_what_no_schema_knows_is_refused():
    line = {"event": "saved", "output": "a.png"}
    validate("events.json", [json.dumps(line)])
    for wrong in ({"output": 1}, {"event": "finished"}, {"speed": 2}):
        with pytest.raises(jsonschema.ValidationError):
            validate("events.json", [json.dumps(line | wrong)])


def test_a_loss_that_is_not_finite_is_null_in_the_results(folder):
    log, row = ResultsLog(str(folder)), Row("a.png", ("style.png",), "out.png")
    log.write(row, "0" * 16, error=None, inputs=[], seconds=1.0, losses={"total": float("nan")})
    (line,) = validate("results.json", Path(log.path).read_text().splitlines())
    assert line["losses"] == {"total": None}


# Exit statuses.


def test_the_listed_exit_statuses_are_those_of_the_commands():
    text = (DOCS / "programs.md").read_text().partition("## Exit status")[2].partition("##")[0]
    listed = re.findall(r"^\| (\d[^|]*) \|", text, re.MULTILINE)
    statuses = (0, errors.FAILED, errors.USAGE, errors.STOPPED)
    assert listed == [*map(str, statuses), "128 + N"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--list-recipes"], 0),
        (["missing.png", "style.png"], errors.FAILED),
        (["photos/broken.png", "style.png"], errors.FAILED),
        (["photos/a.png", "style.png", "--style-weight", "much"], errors.USAGE),
        (["photos/a.png", "style.png", "--json", "-o", "-"], errors.USAGE),
    ],
)
def test_exit_statuses(arguments, expected, folder, run):
    assert run(*arguments)[0] == expected
