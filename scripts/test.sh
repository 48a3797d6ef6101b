#!/usr/bin/env bash
# Everything that must hold before a change goes in: style, then the tests. Installs what they need, once.
#
#     scripts/test.sh [arguments of pytest]        for instance -k checkpoint -x
. "$(dirname "$0")/setup_env.sh"
install_requirements requirements-dev.txt

python -m ruff check .
python -m ruff format --check .
python -m pytest "$@"
