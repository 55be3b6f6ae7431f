"""Configuration of the site, which `bash scripts/build_docs.sh` builds without the internet."""

import ast
import dataclasses
import inspect
import textwrap
import tomllib
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx

from jaxnst import __version__

ROOT = Path(__file__).resolve().parent.parent

# The repository's address has one place: [project.urls] in pyproject.toml.
urls = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"].get("urls", {})
repository = urls.get("Repository")

project = "jaxnst"
version = release = __version__
html_title = f"jaxnst {__version__}"
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["pictures", "**.ipynb"]  # notebooks for Colab need the internet
nitpicky = True
# Types of other libraries, whose documentation is not at hand, and modules that have no page.
nitpick_ignore_regex = [("py:class", r"(?!jaxnst\.).*"), ("py:mod", r"jaxnst\..*")]

myst_enable_extensions = ["amsmath", "colon_fence", "dollarmath"]
myst_heading_anchors = 4
nb_execution_mode = "auto"
nb_execution_timeout = 240
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_merge_streams = True

napoleon_use_ivar = True
napoleon_use_rtype = False
napoleon_attr_annotations = False
autodoc_member_order = "bysource"
maximum_signature_line_length = 88
toc_object_entries_show_parents = "hide"
add_module_names = False

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_copy_source = False
html_show_sphinx = html_show_copyright = False
html_theme_options: dict[str, Any] = {"navigation_with_keys": True}
if repository:
    html_theme_options |= {
        "source_repository": repository,
        "source_branch": "main",
        "source_directory": "docs/",
    }
copybutton_exclude = ".linenos, .gp, .go"

# On GitHub a link leads to the file, on the site to the page that includes it.
PAGES_OF_FILES = {
    "../weights/README.md": "cards.md",
    "../CONTRIBUTING.md": "contributing.md",
    "../CHANGELOG.md": "changelog.md",
}


def link_pages(app: Sphinx, page: str, source: list[str]) -> None:
    """Replace links to files outside docs by links to their pages."""
    for file, target in PAGES_OF_FILES.items():
        source[0] = source[0].replace(f"]({file}", f"]({target}")


def show_formula(translator: Any, node: nodes.math | nodes.math_block) -> None:
    """Write a formula as MathML, which browsers show without a script."""
    block = isinstance(node, nodes.math_block)
    formula = tex2mathml(node.astext(), as_block=block)
    translator.body.append(f'<div class="formula">{formula}</div>' if block else formula)
    raise nodes.SkipNode


def signature_as_written(
    app: Sphinx, what: str, name: str, thing: Any, options: Any, signature: str, returns: str
) -> tuple[str, str] | None:
    """Return the signature of a function or class as its source has it, with values of defaults.

    Sphinx would write out every alias: ``ArrayLike`` alone takes ten lines.
    """
    if what not in ("function", "method", "class"):
        return None
    try:
        source = textwrap.dedent(inspect.getsource(inspect.unwrap(thing)))
    except (OSError, TypeError):
        return None
    (definition,) = ast.parse(source).body
    if isinstance(definition, ast.ClassDef):
        methods = {part.name: part for part in definition.body if isinstance(part, ast.FunctionDef)}
        if "__init__" not in methods:
            return _fields(thing, definition), ""
        definition = methods["__init__"]
    assert isinstance(definition, ast.FunctionDef)
    arguments = definition.args
    if arguments.args and arguments.args[0].arg == "self":
        del arguments.args[0]
    for argument in (*arguments.args, *arguments.kwonlyargs):
        argument.annotation = argument.annotation and _unquoted(argument.annotation)
    parameters = inspect.signature(thing).parameters
    for i, (argument, default) in enumerate(
        zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    ):
        value = parameters[argument.arg].default
        if isinstance(default, ast.Name | ast.Attribute) and _default(value) != "...":
            arguments.kw_defaults[i] = ast.parse(_default(value), mode="eval").body
    result = "" if definition.returns is None else ast.unparse(_unquoted(definition.returns))
    return f"({ast.unparse(arguments)})", result


def _unquoted(annotation: ast.expr) -> ast.expr:
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        return ast.parse(annotation.value, mode="eval").body
    return annotation


def _fields(cls: type, definition: ast.ClassDef) -> str:
    """Write the fields of a dataclass or named tuple as the arguments that they are."""
    parameters = inspect.signature(cls).parameters
    keywords = [p.kind is p.KEYWORD_ONLY for p in parameters.values()]
    shown = ["*"] if all(keywords) else []
    for part in definition.body:
        if isinstance(part, ast.AnnAssign) and ast.unparse(part.target) in parameters:
            name, default = ast.unparse(part.target), parameters[ast.unparse(part.target)].default
            shown.append(f"{name}: {ast.unparse(_unquoted(part.annotation))}")
            if default is not inspect.Parameter.empty:
                shown[-1] += f" = {_default(default)}"
    return f"({', '.join(shown)})"


def _default(value: Any) -> str:
    if dataclasses.is_dataclass(value):
        return f"{type(value).__name__}()"
    return repr(value) if isinstance(value, str | int | float | tuple | None) else "..."


def setup(app: Sphinx) -> None:
    """Connect the functions above."""
    app.add_html_math_renderer("mathml", (show_formula, None), (show_formula, None))
    app.connect("source-read", link_pages)
    app.connect("autodoc-process-signature", signature_as_written)
