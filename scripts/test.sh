#!/usr/bin/env bash
# Everything that must hold before a change goes in: style, then the tests. Installs what they need, once.
#
#     scripts/test.sh [arguments of pytest]        for instance -k checkpoint -x
. "$(dirname "$0")/setup_env.sh"
install_requirements requirements-dev.txt

python -m ruff check .
python -m ruff format --check .
# Files of tests side by side: most tests wait for processes of one thread that they start. -n 0 turns it off.
python -m pytest -n auto --maxprocesses 4 --dist loadfile "$@"
