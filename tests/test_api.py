"""Conventions that hold for the whole package: docstrings, signatures, imports, layers."""

import ast
import doctest
import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import jaxtyping
import pytest

import jaxnst

ROOT = Path(jaxnst.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))

# The command line is no library, and what begins with an underscore is not for others to call.
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(jaxnst.__path__, "jaxnst.")
    if "._" not in module.name and not module.name.startswith("jaxnst.cli")
)

# Float, Int, UInt8 and all others that a shape can be written for.
SHAPED = {name for name in dir(jaxtyping) if hasattr(getattr(jaxtyping, name), "dtypes")}

PUBLIC = {"load_image", "save_image", "load_network", "stylize", "extract_features"}
PUBLIC |= {
    "reconstruct_content",
    "reconstruct_style",
    "gram_matrix",
    "content_loss",
    "style_loss",
    "total_variation",
    "recipes",
}


def public_functions():
    """Every function and method without an underscore, by its full name."""
    found = {}
    for name in MODULES:
        module = importlib.import_module(name)
        for key, value in vars(module).items():
            if key.startswith("_") or getattr(value, "__module__", None) != name:
                continue
            if inspect.isclass(value):
                for method, function in vars(value).items():
                    if inspect.isfunction(function) and not method.startswith("_"):
                        found[f"{name}.{key}.{method}"] = function
            elif callable(value):
                found[f"{name}.{key}"] = value
    return found


FUNCTIONS = public_functions()


def imports(path):
    """What a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def python(code, folder, *flags):
    """Run a program in an empty folder, with an empty home."""
    # So that nothing that this process has set reaches it, nor what others keep at home.
    environment = {"HOME": str(folder), "PATH": "", "PYTHONDONTWRITEBYTECODE": "1"}
    environment |= {"JAX_PLATFORMS": "cpu", "XDG_CACHE_HOME": str(folder)}
    environment |= {"PYTHONPATH": str(ROOT.parent)}
    return subprocess.run(
        [sys.executable, *flags, "-c", code],
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment,
        check=False,
    )


# Names.


def test_public_names_are_there_and_in_order():
    assert set(jaxnst.__all__) >= PUBLIC
    assert sorted(jaxnst.__all__) == sorted(set(jaxnst.__all__))
    for name in jaxnst.__all__:
        assert hasattr(jaxnst, name), name


@pytest.mark.parametrize("name", [n for n in jaxnst.__all__ if n != "__version__"])
def test_public_names_have_docstrings(name):
    value = getattr(jaxnst, name)
    assert inspect.getdoc(value)


def test_the_package_says_that_it_has_types():
    assert (ROOT / "py.typed").is_file()


def test_names_that_are_not_there_are_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'stylise'"):
        _ = jaxnst.stylise
    assert dir(jaxnst) == sorted(jaxnst.__all__)


def test_recipes_are_named_as_they_are_registered():
    known = jaxnst.recipes.RECIPES
    assert "default" in known
    for name, recipe in known.items():
        assert recipe.name == name and jaxnst.get_recipe(name) is recipe
        assert recipe.summary
    with pytest.raises(KeyError) as raised:
        jaxnst.get_recipe("defaul")
    assert "did you mean 'default'" in raised.value.args[0]


# Signatures.


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_have_a_docstring_and_annotations(name):
    function = FUNCTIONS[name]
    assert inspect.getdoc(function), "no docstring"
    assert not inspect.getdoc(function).startswith("partial("), "no docstring"
    signature = inspect.signature(function)
    parameters = [p for p in signature.parameters.values() if p.name != "self"]
    bare = [p.name for p in parameters if p.annotation is inspect.Parameter.empty]
    assert not bare, f"no annotation: {bare}"
    assert signature.return_annotation is not inspect.Signature.empty


@pytest.mark.parametrize("name", FUNCTIONS)
def test_optional_arguments_are_keyword_only_and_a_key_comes_first(name):
    parameters = list(inspect.signature(FUNCTIONS[name]).parameters.values())
    positional = [
        p.name
        for p in parameters
        if p.default is not inspect.Parameter.empty and p.kind is not inspect.Parameter.KEYWORD_ONLY
    ]
    assert not positional
    names = [p.name for p in parameters if p.name != "self"]
    assert "key" not in names or names[0] == "key"


@pytest.mark.parametrize("name", MODULES)
def test_modules_say_what_they_are_for_and_their_examples_work(name):
    module = importlib.import_module(name)
    assert module.__doc__
    assert doctest.testmod(module).failed == 0


# Files.


def test_no_module_postpones_its_annotations():
    """Run-time checks of shapes need them."""
    assert not [p for p in FILES if any(name.startswith("__future__") for name in imports(p))]


@pytest.mark.parametrize(
    ("library", "packages"),
    [
        ("PIL", {"image", "report"}),
        ("flax", {"networks", "feedforward"}),
        ("jaxopt", {"optim"}),
        ("h5py", {"weights"}),
        ("scipy", {"weights"}),
        ("rich", {"cli"}),
        ("filelock", {"cli"}),
        ("ray", {"cli"}),
        ("matplotlib", {"report"}),
        ("av", {"report", "video"}),
        ("IPython", {"report"}),
        ("grain", {"feedforward"}),
        ("orbax", {"feedforward"}),
        ("threadpoolctl", {"feedforward"}),
    ],
)
def test_each_library_is_imported_where_it_belongs(library, packages):
    importing = {
        path.relative_to(ROOT).parts[0]
        for path in FILES
        for name in imports(path)
        if name.split(".")[0] == library
    }
    assert importing <= packages


# Importing.


# NumPy 2.5 made NDArray an alias (`type NDArray[...] = ...`), which is no class.
@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_annotations_of_shapes_take_classes(path):
    found = [
        ast.unparse(node)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Subscript)
        and ast.unparse(node.value).rpartition(".")[2] in SHAPED
        and "NDArray" in ast.unparse(node.slice)
    ]
    assert not found, f"{found}: write np.ndarray"


def test_import_is_silent_and_touches_nothing(tmp_path):
    code = """
import sys, jax, flax.linen, optax
before = dict(jax.config.values)
import jaxnst
for name in jaxnst.__all__:
    getattr(jaxnst, name)
from jax._src import xla_bridge
assert not xla_bridge.backends_are_initialized(), "a device was started"
changed = {k for k, v in jax.config.values.items() if before.get(k) != v}
assert not changed, changed
assert "jaxopt" not in sys.modules
"""
    done = python(code, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not list(tmp_path.iterdir())


def test_import_raises_no_warning_and_does_not_wait_for_jax(tmp_path):
    code = "import jaxnst, sys; assert 'jax' not in sys.modules; jaxnst.stylize"
    done = python(code, tmp_path, "-W", "error")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
