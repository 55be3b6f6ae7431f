"""What README and docs tell people to type: blocks and commands run, flags and files exist."""

import importlib
import itertools
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import helpers
import pytest

import jaxnst
from jaxnst.cli import COMMANDS, batch, inputs, parser, sweep, watching
from jaxnst.cli.fetching import STREAM, is_address
from jaxnst.cli.help import SHORT_HELP, TIPS
from jaxnst.image import save_image
from jaxnst.image.record import Record
from jaxnst.recipes import base_recipe, get_recipe, read_recipe
from jaxnst.weights import bundled_styles

ROOT = Path(__file__).parents[1]
PAGES = [
    *("README.md", "CONTRIBUTING.md", "weights/README.md", "examples/README.md"),
    *sorted(page.relative_to(ROOT).as_posix() for page in (ROOT / "weights/cards").glob("*.md")),
    *sorted(page.relative_to(ROOT).as_posix() for page in (ROOT / "docs").rglob("*.md")),
]
SMALLER = {
    "size=512": 'size=32, style_layers={"relu1_1": 1.0}, content_layers={"relu2_1": 1.0}',
    "size=256": "size=32",
    "alpha=0.6": "alpha=0.6, levels=(2, 1)",
    "style_size=512": "style_size=48",
    "steps=4000": "steps=2",
    "crop=192": "crop=48",
}
"""Numbers of the examples that take minutes, and what stands in their place here: small pictures,
and layers that are compiled in a moment."""


def text_of(page):
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page, language):
    """List the fenced blocks of a page in a language, each with the line where it begins."""
    found = re.finditer(rf"^```{language}\n(.*?)^```$", text_of(page), re.DOTALL | re.MULTILINE)
    return [(text_of(page)[: m.start()].count("\n") + 2, m[1]) for m in found]


def spans(page):
    """List the code of a page that stands within a line of prose or of a table."""
    prose = re.sub(r"^```.*?^```$", "", text_of(page), flags=re.DOTALL | re.MULTILINE)
    return [" ".join(code.split()).replace(r"\|", "|") for code in re.findall(r"`([^`]+)`", prose)]


def simple_commands(text):
    """Split shell text into commands, each a list of words, without comments and redirections."""
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words, kept = list(lexer), [[]]
        while words:
            word = words.pop(0)
            if word == ">":
                words.pop(0)
            elif set(word) <= set("|&;"):
                kept.append([])
            else:
                kept[-1].append(word)
        yield from filter(None, kept)


def documented():
    """List the pages' commands of jaxnst, from shell blocks and from prose."""
    for page in PAGES:
        shell = "".join(text for _, text in blocks(page, "sh"))
        for code in spans(page):
            whole = re.match(r"(jaxnst-run|jaxnst \w+) ([^.-]|--list|--show)", code)
            if whole and "..." not in code:
                shell += code + "\n"
            elif re.match(r"--recipe [^A-Z]+$", code):
                shell += f"jaxnst-run photo.jpg painting.jpg -o out.png {code}\n"
        for words in simple_commands(shell):
            if words[0] in ("jaxnst", "jaxnst-run"):
                yield page, words
    for command, short in SHORT_HELP.items():
        for arguments, _ in short.examples:
            yield "-h", ["jaxnst", command, *shlex.split(arguments)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder of a person who follows the pages, which is the current one."""
    monkeypatch.chdir(tmp_path)
    for name in ("photo.jpg", "painting.jpg", "photos/a.jpg", "photos/b.jpg", "photos/c.jpg"):
        Path(name).parent.mkdir(exist_ok=True)
        save_image(name, helpers.picture(60, 80, seed=len(name)))
    record = Record(
        recipe=get_recipe("default"), network="vgg16-lite", network_sha256="0" * 64, size=512
    )
    save_image("out.png", helpers.picture(48, 64), record=record)
    Path("mine.toml").write_text(blocks("docs/recipes.md", "toml")[0][1])
    shutil.copy(bundled_styles()["great-wave"], "waves.safetensors")
    return tmp_path


# Python.


def test_the_numbers_that_are_made_smaller_are_there():
    whole = "".join(text for page in PAGES for _, text in blocks(page, "python"))
    assert [number for number in SMALLER if number not in whole] == []


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")])
def test_python_blocks_run_one_after_the_other(page, folder):
    (folder / "IPython").mkdir()  # a notebook's, of which only this is used
    (folder / "IPython/__init__.py").write_text("version_info = (99, 0)\n")  # for Matplotlib
    (folder / "IPython/display.py").write_text(
        "HTML = str\nclass DisplayHandle:\n    display = update = lambda self, page: None\n"
    )
    program = ""
    for line, text in blocks(page, "python"):
        program += "\n" * (line - 1 - program.count("\n")) + text  # errors name the page's line
    for number, small in SMALLER.items():
        program = re.sub(rf"\b{number}\b", small, program)
    (folder / "page.py").write_text(program)
    done = subprocess.run(
        [sys.executable, "page.py"],
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{page}: {done.stderr}"


def test_no_block_is_written_by_indentation_where_its_language_is_not_said():
    for page in PAGES:
        plain = re.sub(r"^```.*?^```$", "", text_of(page), flags=re.DOTALL | re.MULTILINE)
        assert not re.search(r"\n\n {4}(?! *[*-])\S", plain), page


# Commands.


@pytest.mark.parametrize(
    ("page", "words"), [*documented()], ids=lambda value: value if isinstance(value, str) else None
)
def test_a_documented_command_is_understood(page, words, folder, monkeypatch, capsys):
    name, arguments = ("run", words[1:]) if words[0] == "jaxnst-run" else (words[1], words[2:])
    assert name in COMMANDS
    module = importlib.import_module(f"jaxnst.cli.{name}")
    status, prog = 0, f"jaxnst {name}"
    try:
        if name == "run":
            check_run(*parser.parse(arguments, prog))
        elif name == "sweep":
            check_run(sweep._read(arguments, prog).cells[0].flags, get_recipe("default"))
        elif name == "batch":
            _, rest = batch._parser(prog).parse_known_args(arguments)
            parser.parse(["content", "style", *rest], prog)
        else:
            monkeypatch.setattr(module, "guarded", lambda *_, **__: 0)
            status = module.main(arguments, prog)
    except SystemExit as stop:
        status = stop.code
    assert status in (0, None), f"{page}: {shlex.join(words)}: {capsys.readouterr().err}"


def check_run(flags, recipe):
    """Check flags against each other and against files, which all are there."""
    for source in inputs.sources_of(flags, recipe):
        if source != STREAM and not is_address(source) and not os.path.exists(source):
            Path(source).parent.mkdir(exist_ok=True)
            save_image(source, helpers.picture(48, 64))
    inputs.check_flags(flags, recipe)


# Commands, run at 96 pixels.

NOT_RUN = {
    r"https?://|--yes|--network densenet": "downloads",
    r"jaxnst train": "hours of training",
    r"jaxnst studio": "a server, until Ctrl-C",
    r"--engine ray": "a cluster",
    r"--device|--precision": "an accelerator",
    r"\.mat$|\.mat |\.pth ": "files that are not ours",
    r" -( |$)": "a pipe",
}
"""Commands that are only parsed, by the test above, and what they would take."""

SHALLOW = ["--style-layers", "relu1_1", "--content-layers", "relu2_1", "--steps", "2"]
SHORTER = {
    "run": ["--scales", "96", *SHALLOW],
    "batch": ["--size", "96", *SHALLOW],
    "sweep": ["--size", "96", *SHALLOW],
    "reconstruct": ["--size", "96", "--steps", "2"],
    "instant": ["--size", "96", "--levels", "2,1"],
    "apply": ["--size", "96"],
}
"""Flags that a command gets, if it has no others in their place."""

SHALLOWER = {"relu3_1": "relu1_2", "relu4_1": "relu2_2", "relu4_2": "relu2_1"}
"""Layers that stand in place of a command's own."""

SMALL_VALUES = {"--size": "96", "--style-size": "96", "--scales": "48,96", "--tile": "160"}
"""Values that stand in place of a command's own."""

OUTPUTS = ("-o", "--plot", "--animate", "--side-by-side", "--preview")


def shortened(name, arguments):
    """Make a command small: 96 pixels, two steps, shallow layers of the bundled network."""
    words = list(arguments)
    for i, word in enumerate(words[:-1]):
        if word in SMALL_VALUES and words[i + 1] != "auto":
            words[i + 1] = SMALL_VALUES[word]
        if word == "--steps":
            words[i + 1] = "3"  # further than those before
        if word.endswith("layers"):
            for layer, shallower in SHALLOWER.items():
                words[i + 1] = words[i + 1].replace(layer, shallower)
    prints = any(word.startswith(("-h", "--list", "--show", "--tips")) for word in words)
    if prints or name not in SHORTER:
        return words
    flags = iter(SHORTER[name])
    for flag, value in zip(flags, flags, strict=True):
        if flag not in words and not (flag == "--scales" and "--size" in words):
            words += [flag, value]
    if "--recipe" in words and "--network" not in words:
        words += ["--network", "vgg16-lite"]
    return words


def runnable():
    """List the documented commands that are run, once each, with the name of the command."""
    known = {}
    for _, words in documented():
        text = shlex.join(words)
        if not any(re.search(pattern, text) for pattern in NOT_RUN):
            name, arguments = (
                ("run", words[1:]) if words[0] == "jaxnst-run" else (words[1], words[2:])
            )
            known[text.replace("jaxnst run", "jaxnst-run")] = name, arguments
    return known


@pytest.fixture
def home(folder, monkeypatch):
    """The same folder, with all that the pages assume, and a cache folder of its own."""
    from jaxnst.report.animation import as_frame, save_animation

    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    monkeypatch.setattr(watching, "CHECKPOINT_SECONDS", 0)  # every run can be resumed
    picture = helpers.picture(60, 80, seed=3)
    for name in ("painting", "b", "starry", "houses", "monet", "hokusai", "style", "two", "three"):
        save_image(f"{name}.jpg", picture)
    examples = [f"examples/{name}.jpg" for name in ("content", "strokes", "hatching", "shapes")]
    gallery = ["starry-night.jpg", "scream.jpg", "great-wave.jpg", "wheat-field.jpg"]
    gallery += ["astronaut.png", "coffee.png", "chelsea.png"]
    for name in ("paintings/x.jpg", "more/d.jpg", *examples, *gallery):
        Path(name).parent.mkdir(exist_ok=True)
        save_image(name, picture)
    for name in ("content", "one", "a1", "a2"):
        save_image(f"{name}.jpg", helpers.picture(60, 80))
    for name in ("photo", "sky", "ground", "land", "clouds", "fields"):
        save_image(f"{name}.png", helpers.picture(60, 80, seed=len(name)))
    save_animation("film.mp4", [as_frame(picture)] * 3)
    shutil.copy("waves.safetensors", "mine.safetensors")
    for name in ("rows.csv", "pictures.csv"):
        Path(name).write_text("content,style,style-weight\nphotos/a.jpg,painting.jpg,15\n")
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")  # which JAX has read
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("command", runnable())
def test_a_documented_command_runs(command, home, call):
    name, arguments = runnable()[command]
    # What the page made before.
    if name == "show" or {"--from", "--resume"} & {*arguments}:
        content = [word for word in arguments if word in ("photo.jpg", "content.jpg")] or [
            "photo.jpg"
        ]
        style = "painting.jpg" if content == ["photo.jpg"] else "style.jpg"
        for output in ("out.png", "other.png"):
            assert call("run", *shortened("run", [*content, style, "-o", output]))[0] == 0
    status, out, err = call(name, *shortened(name, arguments))
    assert status in (0, None), err
    written = [b for a, b in itertools.pairwise(arguments) if a in OUTPUTS]
    is_planned = {"--dry-run", "-h"} & {*arguments}
    assert is_planned or all(os.path.exists(path) for path in written), (written, out, err)


def test_commands_are_run_and_what_is_not_is_documented():
    texts = [shlex.join(words) for _, words in documented()]
    assert len(runnable()) > 50
    for pattern in NOT_RUN:
        if pattern not in ("--device|--precision", "--engine ray"):  # in prose alone
            assert any(re.search(pattern, text) for text in texts), pattern


def test_documented_commands_are_found():
    found = [shlex.join(words) for _, words in documented()]
    assert len(found) > 60 and len({words.split()[1] for words in found}) > 8
    assert "jaxnst apply --list" in found  # from prose
    assert any(words.endswith("-o out.png --recipe wasserstein") for words in found)  # from a table


def test_flags_named_in_prose_exist():
    folders = [ROOT / name for name in ("jaxnst", "scripts", "benchmarks")]
    sources = "".join(path.read_text() for folder in folders for path in folder.glob("**/*.py"))
    known = set(re.findall(r'"(?:-o )?(--[a-z][a-z-]*)[ "]', sources))
    for script in ROOT.glob("scripts/*.sh"):
        known |= set(re.findall(r"--[a-z][a-z-]*", script.read_text()))
    for page in PAGES:
        named = re.findall(r"(?<!\S)--[a-z][a-z-]*", "\n".join(spans(page)))
        assert {*named} <= known, page


def test_the_printed_tips_have_the_rows_and_flags_of_the_page():
    def settings(text):
        return sorted(set(re.findall(r"--[a-z-]+|(?<= )[0-9.]+(?:GB)?(?![\w.])", text)))

    table = re.findall(r"^\| (.+?) \| (.+) \|$", text_of("docs/tips.md"), re.MULTILINE)[1:]
    page = [settings(" ".join(re.findall("`([^`]+)`", advice))) for _, advice in table]
    rows = re.sub(r"\n {30,}", " ", TIPS.split("\n\n")[1]).splitlines()
    assert [settings(row[34:]) for row in rows] == page and len(page) > 10
    assert max(map(len, TIPS.splitlines())) <= 80
    assert "docs/tips.md" in TIPS


def test_a_documented_recipe_can_be_read(folder):
    assert read_recipe("mine.toml", base=base_recipe).init == "content"


def test_documented_extras_exist():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = {n for page in PAGES for n in re.findall(r'(?:jaxnst|"\.)\[(\w+)\]', text_of(page))}
    assert named <= project["optional-dependencies"].keys() and len(named) > 4


# The reference.


def test_the_reference_lists_every_public_name_once():
    pages = "".join(text_of(f"docs/api/{page.name}") for page in (ROOT / "docs/api").glob("*.md"))
    listed, module = [], ""
    for directive, name in re.findall(r"(?m)^\.\. (currentmodule|auto\w+):: (\S+)$", pages):
        if directive == "currentmodule":
            module = name
        elif module == "jaxnst" or name.startswith("jaxnst."):
            listed.append(name.removeprefix("jaxnst."))
    public = {*jaxnst.__all__} - {"__version__", "notebook"}  # a module, whose functions are listed
    assert public - {*listed} == set()  # to be added to a page of docs/api
    assert len(listed) == len({*listed})
    assert "notebook.live" in listed


# The first commands.


def test_the_first_command_leaves_the_programs_on_the_path():
    (line, first), (_, second), *_ = blocks("README.md", "sh")
    job = "jaxnst-run examples/content.jpg examples/strokes.jpg -o out.png"
    assert first.count("\n") == 1 and first.endswith(f" && {job}\n")
    before = [shlex.join(words) for words in simple_commands(first)][:-1]
    assert before == [
        "python3 -m venv .venv",
        "source .venv/bin/activate",
        "python -m pip install .",
    ]
    windows = text_of("README.md").splitlines()[line + 2]
    for words in (r".venv\Scripts\activate", job.replace("/", "\\")):
        assert words in windows
    assert all(words[0].startswith("jaxnst") for words in simple_commands(second))


def anchors(text):
    """List the anchors of a page's headings, as GitHub and the site form them."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    for heading in re.findall(r"^#+ (.+)$", prose, re.MULTILINE):
        yield re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def test_files_and_headings_that_the_pages_name_are_there():
    for page in PAGES:
        prose = re.sub(r"```.*?```|`[^`]+`", "", text_of(page), flags=re.DOTALL)
        for target, anchor in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", prose):
            path = (ROOT / page).parent / target if target else ROOT / page
            assert is_address(target) or path.exists(), f"{page}: {target}"
            if anchor and not is_address(target):
                assert anchor in anchors(path.read_text(encoding="utf-8")), f"{page}: #{anchor}"
