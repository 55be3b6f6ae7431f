"""What a release consists of beside the code: citation, model cards, workflows."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

import jaxnst
from jaxnst.networks import NETWORKS
from jaxnst.weights import bundled_styles

ROOT = Path(__file__).parents[1]
CARDS = ROOT / "weights/cards"
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == jaxnst.__version__
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()


def front_matter(card):
    head, _, text = (CARDS / f"{card}.md").read_text().removeprefix("---\n").partition("\n---\n")
    return yaml.safe_load(head), text


def test_every_network_that_ships_has_a_card():
    networks = [name for name, entry in NETWORKS.items() if entry.file]
    shipped = {*networks, "vgg19-lite-decoders", *bundled_styles()}
    assert {path.stem for path in CARDS.iterdir()} == shipped


@pytest.mark.parametrize("card", sorted(path.stem for path in CARDS.iterdir()))
def test_a_card_has_the_form_of_hugging_face(card):
    head, text = front_matter(card)
    assert head["library_name"] == "jaxnst" and "jax" in head["tags"]
    assert head["pipeline_tag"] in ("feature-extraction", "image-to-image")
    for heading in ("Use", "Limitations", "License"):
        assert f"\n## {heading}\n" in text
    (file,) = re.findall(r"`([\w/.-]+\.safetensors)`", text)
    assert (ROOT / "weights" / file).is_file()
    known = tomllib.loads((ROOT / "weights/registry.toml").read_text())["file"]
    for entry in known:
        if entry["name"] == file:
            assert head["license"] == entry["license"].lower().replace(" ", "-")


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_scripts_of_a_workflow_exist(path):
    text = path.read_text()
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] == {"contents": "read"}  # more only for the job that needs it
    assert all("timeout-minutes" in job for job in workflow["jobs"].values())
    for script in re.findall(r"(?:bash|python) (scripts/[\w.]+)", text):
        assert (ROOT / script).is_file() or script == "scripts/build_docs.sh"


def test_workflows_try_every_supported_python():
    tests = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text())["jobs"]["tests"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    versions = tests["strategy"]["matrix"]["python"]
    assert project["requires-python"] == f">={versions[0]}"
    assert versions == [f"3.{minor}" for minor in range(11, 11 + len(versions))]
