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
# One process more than there are cores, as tests wait for what they start; four at most, of about 1 GB. -n 0: none.
workers=$(python -c 'import os; print(min(4, 1 + len(getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count()))(0))))')
python -m pytest -n "$workers" --dist worksteal ${words[@]+"${words[@]}"}
