#!/usr/bin/env bash
# Check style and run the tests, as required before each change. Installs their requirements.
#
#     scripts/test.sh [--all] [arguments of pytest]        for example -k checkpoint -x
#
# --all also runs the slow tests, which docs/testing.md lists.
. "$(dirname "$0")/setup_env.sh"
unset PYTHONDONTWRITEBYTECODE # the tests start hundreds of interpreters, each of which would compile all files
install_requirements requirements-dev.txt

words=()
for word in "$@"; do
    if [ "$word" = --all ]; then words+=(-m ''); else words+=("$word"); fi
done

python -m ruff check .
python -m ruff format --check .
# Tests run in parallel, as most of them wait for single-threaded subprocesses. -n 0 turns this off.
python -m pytest -n auto --maxprocesses 4 --dist worksteal ${words[@]+"${words[@]}"}
