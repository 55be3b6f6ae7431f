"""The notebooks name what exists. The build of the site executes them; here they are read."""

import ast
import importlib
import inspect
import json
import re
import tomllib
from pathlib import Path

import pytest

import jaxnst
from jaxnst.losses.distances import DISTANCES
from jaxnst.recipes import RECIPES
from jaxnst.recipes.schema import Recipe, options

ROOT = Path(__file__).parents[1]
COLAB = ROOT / "docs/notebooks/colab.ipynb"
NOTEBOOKS = [*sorted((ROOT / "docs/notebooks").glob("*.md")), COLAB]
POSTS = {
    "keras-vgg16": "keras-vgg16-avgpool",
    "keras-vgg19": "keras-vgg19-tv",
    "densenet": "keras-densenet121",
    "pytorch-vgg19": "pytorch-vgg19-adam",
    "tensorflow-vgg19": "tensorflow-vgg19-matconvnet",
}
"""Notebooks of the posts, each with its recipe."""

NO_ADDRESS = "https://github.com/OWNER_TO_BE_SET/jaxnst"
"""Of the repository, until pyproject.toml has one. No account can have this name."""

OVERRIDES = {flag.strip("-").replace("-", "_") for flag in options(Recipe())}


def cells(path):
    """List the code cells of a notebook, without lines that IPython alone understands."""
    text = path.read_text(encoding="utf-8")
    if path == COLAB:
        code = ["".join(c["source"]) for c in json.loads(text)["cells"] if c["cell_type"] == "code"]
    else:
        code = re.findall(r"^```\{code-cell\} python3\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [re.sub(r"^[!%].*$", "", cell, flags=re.MULTILINE) for cell in code]


def program(path):
    return ast.parse("\n".join(cells(path)))


def public(node):
    """Return what ``jaxnst.NAME`` or ``jaxnst.PART.NAME`` names, or None for anything else."""
    names = []
    while isinstance(node, ast.Attribute):
        names.insert(0, node.attr)
        node = node.value
    if not names or not isinstance(node, ast.Name) or node.id != "jaxnst":
        return None
    assert names[0] in jaxnst.__all__, f"jaxnst.{names[0]} is not public"
    thing = jaxnst
    for name in names:
        thing = getattr(thing, name)
    return thing


def test_every_post_has_its_notebook():
    assert {path.stem for path in NOTEBOOKS} == {*POSTS, "colab"}
    for name, recipe in POSTS.items():
        text = (ROOT / f"docs/notebooks/{name}.md").read_text()
        assert f'recipe="{recipe}"' in text and f"--recipe {recipe} " in text
        assert recipe in RECIPES and len(cells(ROOT / f"docs/notebooks/{name}.md")) > 5


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_names_in_a_notebook_exist(path):
    tree, used = program(path), 0
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("jaxnst"):
            module = importlib.import_module(node.module)
            assert all(hasattr(module, alias.name) for alias in node.names), ast.unparse(node)
        used += public(node) is not None
    assert used > 2


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_keywords_and_choices_in_a_notebook_exist(path):
    for node in ast.walk(program(path)):
        function = public(node.func) if isinstance(node, ast.Call) else None
        if function is None:
            continue
        known = set(inspect.signature(function).parameters)
        if "overrides" in known:
            known |= OVERRIDES
        assert {keyword.arg for keyword in node.keywords} <= known, ast.unparse(node)
        for keyword in node.keywords:
            choices = {"recipe": RECIPES, "distance": DISTANCES}.get(keyword.arg)
            if choices and isinstance(keyword.value, ast.Constant):
                assert keyword.value.value in choices


def test_colab_installs_from_the_repository():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    address = project.get("urls", {}).get("Repository", NO_ADDRESS)
    first = next(c for c in json.loads(COLAB.read_text())["cells"] if c["cell_type"] == "code")
    assert f'REPOSITORY = "{address}"' in "".join(first["source"])
    assert "git clone" in "".join(first["source"]) and "%pip install" in "".join(first["source"])
    # The site does not run it.
    assert json.loads(COLAB.read_text())["metadata"]["mystnb"] == {"execution_mode": "off"}
