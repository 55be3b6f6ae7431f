#!/usr/bin/env bash
# Build sdist and wheel, check them, and paint with each of them alone, as the README's first command
# does: in an empty environment, and in a folder that is not the checkout.
#
#   scripts/check_package.sh [FOLDER]
#
# FOLDER keeps the two files. Needs Python 3.11 or newer and a package index.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export PIP_QUIET=2 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore
unset PYTHONPATH
python=$(command -v python3 || command -v python)
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
packages=${1:-$temporary/dist}
mkdir -p "$packages"
packages=$(cd "$packages" && pwd)

"$python" -m venv "$temporary/tools"
bin() { # of an environment, on any system
  if [[ -d $1/Scripts ]]; then echo "$1/Scripts"; else echo "$1/bin"; fi
}
tools=$(bin "$temporary/tools")
"$tools/python" -m pip install build mypy twine
"$tools/python" -m build --outdir "$packages" >"$temporary/build.log" 2>&1 || {
  cat "$temporary/build.log"
  exit 1
}
"$tools/python" -m twine check --strict "$packages"/*

mkdir "$temporary/elsewhere"
cp -r examples "$temporary/elsewhere/"
cd "$temporary/elsewhere"
export XDG_CACHE_HOME="$temporary/cache"
for package in "$packages"/*.whl "$packages"/*.tar.gz; do
  "$python" -m venv --clear "$temporary/user"
  user=$(bin "$temporary/user")
  "$user/python" -m pip install "$package"
  # Fails unless the package brings py.typed.
  "$tools/python" -m mypy --python-executable "$user/python" -c 'import jaxnst'
  "$user/python" -W error -c 'import jaxnst'
  rm -f out.png
  "$user/jaxnst-run" examples/content.jpg examples/strokes.jpg -o out.png --size 256
  "$user/python" - <<'PYTHON'
from importlib.resources import files

from PIL import Image

import jaxnst

assert jaxnst.read_record("out.png").jaxnst == jaxnst.__version__
content, picture = Image.open("examples/content.jpg"), Image.open("out.png")
scale = 256 / max(content.size)
expected = tuple(round(side * scale) for side in content.size)
differs = max(abs(a - b) for a, b in zip(picture.size, expected, strict=True))
assert max(picture.size) == 256 and differs <= 1, (picture.size, expected)
flat = [low for low, high in picture.convert("RGB").getextrema() if high - low < 64]
assert not flat, f"the picture is nearly blank: {picture.getextrema()}"
page = {file.name for file in (files("jaxnst.studio") / "page").iterdir()}
assert {"index.html", "app.js", "style.css"} <= page, f"the studio's page is incomplete: {page}"
PYTHON
  printf '%s: installed alone, and painted\n' "$(basename "$package")"
done
