#!/usr/bin/env bash
# Run the README's first command and the quick tests with other versions than usual.
#
#   scripts/try_versions.sh newest [--debian] [--full]
#   scripts/try_versions.sh oldest [--full]
#
# newest: the newest libraries, on the newest Python that is found (on the PATH or in pyenv) if it
#   is newer than the oldest that pyproject.toml allows. Where there is none, and with --debian,
#   Debian 13 is installed into a temporary folder, as root, by debootstrap.
# oldest: the oldest libraries that pyproject.toml allows, on the oldest Python.
#
# --full runs the whole suite. Exit status 77: this machine cannot do it, for the reason printed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

versions=(jax jaxlib flax numpy optax jaxopt jaxtyping scipy pillow)
# The quick tests: every package, and what depends on the libraries' versions most. The other files
# compile programs of the same kinds for most of their time.
quick=(-m 'not slow' jaxnst tests/test_{api,cli,exchange,fetching,image*,lbfgs,models,optimize}.py
  tests/test_{recipes,record,report_*,studio,training,transformer,video,video_sound,weights*}.py)

export PIP_QUIET=2 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore
unset PYTHONPATH

usage() {
  sed -n '2,/^$/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
  exit 2
}

cannot() {
  echo "${BASH_SOURCE[0]} $mode: not on this machine: $1" >&2
  exit 77
}

mode=${1:-} debian='' full=''
[[ $mode == newest || $mode == oldest ]] || usage
shift
for flag; do
  case $mode$flag in
    newest--debian) debian=1 ;;
    *--full) full=1 ;;
    *) usage ;;
  esac
done

temporary=$(mktemp -d)
inside=''
finish() {
  [[ -z $inside ]] || kill -KILL "$inside" 2>/dev/null || true
  wait
  rm -rf --one-file-system "$temporary"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# Usage: find_python CONDITION. Prints the path of the newest whose minor version meets it.
find_python() {
  local probe candidate
  probe="import ensurepip, sys, venv; v = sys.version_info; m = v.minor
if v.releaselevel == 'final' and m $1: print(f'{m:03}{v.micro:03}', sys.executable)"
  for candidate in $(compgen -c python3 | grep -xE 'python3([.][0-9]+)?' | sort -u) \
    "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.*/bin/python3; do
    "$candidate" -c "$probe" 2>/dev/null || true
  done | sort | tail -n 1 | cut -d ' ' -f 2-
}

# Usage: try PYTHON
try() {
  local job index bin="$temporary/venv/bin"
  job=$(grep -oE 'jaxnst-run examples/[^ ]+ examples/[^ ]+ -o out[.]png' README.md | head -n 1)
  "$1" -m venv "$temporary/venv"
  if [[ $mode == oldest ]]; then
    "$bin/python" -m pip install uv
    # uv does not read pip's configuration.
    index=$("$bin/python" -m pip config get global.index-url 2>/dev/null || true)
    [[ -z $index ]] || export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-$index}"
    "$bin/uv" pip install --quiet --python "$bin/python" --resolution lowest-direct -e '.[dev]'
  else
    "$bin/python" -m pip install -e '.[dev]'
  fi
  "$bin/python" - "${versions[@]}" <<'PYTHON'
import platform, sys
from importlib.metadata import version
print("Python", platform.python_version(), *(f"{name} {version(name)}" for name in sys.argv[1:]))
PYTHON
  job="${job/out.png/$temporary/out.png} --size 256"
  echo "$job"
  export XDG_CACHE_HOME="$temporary/cache"
  PATH="$bin:$PATH" bash -euc "$job"
  [[ -s $temporary/out.png ]]
  if [[ $full ]]; then
    JAX_DISABLE_MOST_OPTIMIZATIONS=0 \
      "$bin/python" -m pytest -ra -n 2 --dist loadfile --no-loadscope-reorder
  else
    unset JAXNST_SHARED
    "$bin/python" -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder "${quick[@]}"
  fi
}

# Install Debian into a folder and run this script in it. Runs in namespaces of its own, so that
# every mount and process ends with it, however it ends.
in_debian() {
  local root=$1 mirror path
  shift
  # The machine's own mirror, if it has one, else debootstrap's default.
  # shellcheck disable=SC2016
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' \
    'Component: main' 2>/dev/null | head -n 1) || true
  debootstrap --variant=minbase --include=ca-certificates,git,python3,python3-venv trixie "$root" \
    ${mirror:+"$mirror"} >"$root.log" 2>&1 || {
    tail -n 20 "$root.log" >&2
    return 1
  }
  mount -t proc proc "$root/proc"
  mount --rbind /dev "$root/dev" # with devpts, for terminals
  # How this machine reaches the network and its package index, and this repository.
  mkdir -p "$root$HOME/.config" "$root/etc/xdg"
  for path in /etc/{resolv.conf,hosts,pip.conf} /etc/xdg/pip "$HOME"/{.config/pip,.pip}; do
    [[ ! -e $path ]] || cp -rLT "$path" "$root$path"
  done
  for path in /etc/ssl /opt "$PWD" "${JAXNST_SHARED:-}"; do
    [[ -d $path ]] || continue
    mkdir -p "$root$path"
    mount --bind "$path" "$root$path"
  done
  chroot "$root" env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin TMPDIR=/tmp \
    bash "$PWD/scripts/try_versions.sh" "$@"
}

least=$(sed -n 's/^requires-python = ">=3[.]\([0-9]*\)"$/\1/p' pyproject.toml)
if [[ $mode == oldest ]]; then
  python=$(find_python "== $least")
  [[ $python ]] || cannot "there is no Python 3.$least, the oldest that pyproject.toml allows"
else
  python=''
  [[ $debian ]] || python=$(find_python "> $least")
fi
if [[ $python ]]; then
  try "$python"
  exit
fi

((EUID == 0)) || cannot "no Python above 3.$least is found, and only root can install Debian 13"
if ! command -v debootstrap >/dev/null; then
  { apt-get update && apt-get install -y --no-install-recommends debootstrap debian-archive-keyring; } \
    >"$temporary/apt.log" 2>&1 || cannot "apt-get brings no debootstrap: $(tail -n 1 "$temporary/apt.log")"
fi
unshare --mount true || cannot "it may not mount"
export -f in_debian
unshare --mount --mount-proc --pid --fork --kill-child bash -euo pipefail -c 'in_debian "$@"' \
  in_debian "$temporary/debian" newest ${full:+--full} &
inside=$!
wait "$inside"
