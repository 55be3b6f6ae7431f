#!/usr/bin/env bash
# Build the site into build/docs, without the internet; a warning is an error.
#
#   bash scripts/build_docs.sh                # needs pip install -e ".[docs]"
#   bash scripts/build_docs.sh --no-notebooks # without executing them, in some seconds
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

options=()
if [[ ${1:-} == --no-notebooks ]]; then
  options=(-D nb_execution_mode=off -D suppress_warnings=myst-nb.lexer)
fi
rm -rf build/docs
PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" python -m sphinx -b html -q -W --keep-going -j auto \
  -d build/doctrees "${options[@]}" docs build/docs

# The pages load nothing from elsewhere; links that a reader follows are fine.
if grep -rnoE '<(script|link|img|iframe|source|video)[^>]+(src|href)="(https?:)?//[^"]*' \
  --include='*.html' build/docs || grep -rnoE '(url\(|@import )["'\'']?(https?:)?//[^)"]*' \
  --include='*.css' build/docs; then
  echo 'the site loads the files above from elsewhere, expected none: keep a copy in docs/_static' >&2
  exit 1
fi
echo "build/docs/index.html"
