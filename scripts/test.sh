#!/usr/bin/env bash
# Everything that must hold before a change goes in: style, then the tests. Installs what they need, once.
#
#     scripts/test.sh [--all] [arguments of pytest]        for instance -k checkpoint -x
#
# --all runs the slow tests too, which docs/testing.md lists.
. "$(dirname "$0")/setup_env.sh"
install_requirements requirements-dev.txt

words=()
for word in "$@"; do
    if [ "$word" = --all ]; then words+=(-m ''); else words+=("$word"); fi
done

python -m ruff check .
python -m ruff format --check .
# Tests side by side, as most wait for processes of one thread that they start. -n 0 turns it off.
python -m pytest -n auto --maxprocesses 4 --dist worksteal ${words[@]+"${words[@]}"}
