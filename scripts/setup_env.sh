# Sourced by the other scripts:  . "$(dirname "$0")/setup_env.sh"
#
# Changes to the project root and defines
#
#     install_requirements FILE   creates the environment if there is none, and installs the packages of FILE (by uv)
#     use_environment             activates the environment; installs nothing
#     require_data PATH HINT...   fails with the hint if PATH does not exist
#     read_series_options WHY NAME... -- OPTION...
#                                 sets `prefix` to the save_prefix of the options; fails if they include one of the names
#     train_in_series OPTION...   trains, or resumes an unfinished run, and adds the run's directory to the array `runs`
#
# The environment is the active one (VIRTUAL_ENV or CONDA_PREFIX), else .venv. After the first two functions, `python` is
# the Python of the environment.
# shellcheck shell=bash
set -euo pipefail

unset CDPATH
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
ROOT=$PWD
ACTIVATE=.venv/bin/activate
case ${OSTYPE:-} in msys* | cygwin*) ACTIVATE=.venv/Scripts/activate ;; esac # Git Bash on Windows

fail() {
    printf '%s\n' "$@" >&2
    exit 2
}

have() { command -v "$1" >/dev/null 2>&1; }

environment_is_active() { [ -n "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ]; }

make_venv() {
    echo 'making .venv'
    if have uv; then
        uv venv --quiet --clear --seed --python '>=3.11' .venv
        return
    fi
    have python3 || fail 'No python3 found: install Python 3.11 or newer, or uv.'
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "Danlu needs Python 3.11 or newer; $(command -v python3) is $(python3 --version)." \
            'Activate an environment that has it (conda create -n danlu python=3.12; conda activate danlu), or install uv.'
    python3 -m venv --clear .venv ||
        fail 'Creating the environment failed. Debian and Ubuntu need a package: sudo apt install python3-venv'
}

install_requirements() {
    if ! environment_is_active; then
        # bin/activate is written last: without it, an earlier start was interrupted, and .venv is created again.
        local is_new=
        [ -f "$ACTIVATE" ] || { make_venv && is_new=yes; }
        # shellcheck source=/dev/null
        . "$ACTIVATE"
        [ -z "$is_new" ] || have uv || bring_uv # not at each start, which would wait where there is no network
    fi
    echo "installing $1 into ${VIRTUAL_ENV:-$CONDA_PREFIX}"
    echo '(the first time this takes some minutes and up to 5 GB)'
    { have uv && install_by_uv "$1"; } || install_by_pip "$1" ||
        fail "Installing $1 failed (see above); run the script again to continue."
}

# uv installs in a fraction of pip's time.
bring_uv() { python -m pip install --quiet --disable-pip-version-check uv 2>/dev/null || true; }

# uv does not read pip's settings, so it is told the index that pip uses. PyTorch's own index has builds for each driver
# and, at a fifth of the size, for no GPU. Where it cannot be reached, or uv is too old to choose, or the user chose an
# index, uv installs from the usual index.
install_by_uv() {
    local index=${UV_DEFAULT_INDEX:-${UV_INDEX_URL:-${PIP_INDEX_URL:-$(configured_index)}}}
    if [ -z "$index${UV_TORCH_BACKEND:-}${UV_INDEX:-}${UV_OFFLINE:-}" ]; then
        uv pip install --quiet --torch-backend=auto --requirement "$1" 2>/dev/null && return
    fi
    [ -z "$index" ] || export UV_DEFAULT_INDEX=$index
    uv pip install --quiet --requirement "$1"
}

configured_index() { python -m pip --disable-pip-version-check config get global.index-url 2>/dev/null || true; }

install_by_pip() {
    have nvidia-smi || compgen -G "${VIRTUAL_ENV:-$CONDA_PREFIX}/lib/python3*/site-packages/torch" >/dev/null ||
        printf '%s\n' 'without a GPU, 1 GB is enough: stop this and first run' \
            '  pip install torch torchvision --index-url https://download.pytorch.org/whl/cpu'
    # Python compiles what it imports; pip would compile all files, which takes as long as downloading them.
    local compile=--no-compile
    [ -z "${PYTHONDONTWRITEBYTECODE:-}" ] || compile=--compile
    python -m pip install --quiet --disable-pip-version-check "$compile" --requirement "$1"
}

use_environment() {
    if ! environment_is_active && [ -f "$ACTIVATE" ]; then
        # shellcheck source=/dev/null
        . "$ACTIVATE"
    fi
    have python || fail 'No environment: run scripts/quickstart.sh once, or activate one that has requirements.txt.'
}

require_data() {
    [ -e "$1" ] || fail "$1 does not exist (relative to $ROOT)." "${@:2}"
}

read_series_options() {
    local why=$1 names=() word name previous=
    shift
    while [ "$1" != -- ]; do
        names+=("$1")
        shift
    done
    shift
    prefix=exp runs=()
    for word in "$@"; do
        case $previous in --save_prefix | --save-prefix) prefix=$word ;; esac
        case $word in
            --save_prefix=* | --save-prefix=*) prefix=${word#*=} ;;
            --resume | --resume=*) fail '--resume: unfinished runs are resumed automatically; omit the option' ;;
        esac
        for name in "${names[@]}"; do
            case $word in
                "--$name" | "--$name="* | "--${name/_/-}" | "--${name/_/-}="*) fail "--$name: $why; omit the option" ;;
            esac
        done
        previous=$word
    done
    series_output=$(mktemp)
    trap 'rm -f "$series_output"' EXIT
}

train_in_series() {
    python train.py "$@" --resume auto | tee "$series_output"
    # For a finished run, train.py says that there is nothing to do.
    runs+=("$(sed -n -E -e 's/^run: //p' -e 's/^nothing to do: (.*) is finished, at epoch .*/\1/p' \
        "$series_output" | tail -n 1)")
}
