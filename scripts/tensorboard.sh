#!/usr/bin/env bash
# The curves, pictures and options of all runs, in a browser at the address that is printed.
#
#     scripts/tensorboard.sh [options of tensorboard]      for instance --port 6007
. "$(dirname "$0")/setup_env.sh"
use_environment

python -m tensorboard.main --logdir checkpoints "$@"
