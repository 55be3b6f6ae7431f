"""Find the files that ship with jaxnst: parameters, their card, the table of known files.

A wheel carries them inside the package (``jaxnst/weights/data``); a checkout, also one installed
as editable, has them in the folder ``weights`` at its top. Transformation networks are in
``styles`` below either.
"""

from pathlib import Path

_PACKAGE = Path(__file__).parent


def bundled(name: str) -> Path:
    """Return the path of a file that ships with jaxnst.

    Args:
      name: Its plain file name, e.g. ``vgg16-lite.safetensors``.

    Raises:
      ValueError: If the name has a folder in it.
      FileNotFoundError: If no such file ships, or it was removed.
    """
    if name in ("", "..") or Path(name).name != name:
        raise ValueError(f"{name!r} is not the plain name of a bundled file")
    for folder in _folders():
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(
        f"{name} is missing from {_folders()[-1]}: check the name, or install jaxnst again"
    )


def bundled_styles() -> dict[str, Path]:
    """Find the transformation networks that ship with jaxnst: by name, in order."""
    for folder in _folders():
        if (folder / "styles").is_dir():
            return {path.stem: path for path in sorted((folder / "styles").glob("*.safetensors"))}
    return {}


def _folders() -> list[Path]:
    folders = [_PACKAGE / "data"]
    checkout = _PACKAGE.parents[1]
    # Beside an installed package, a folder called "weights" would be somebody else's.
    if (checkout / "pyproject.toml").is_file():
        folders.append(checkout / "weights")
    return folders
