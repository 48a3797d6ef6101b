#!/usr/bin/env bash
# Start TensorBoard with the curves, images and options of all runs; open the printed address in a browser.
#
#     scripts/tensorboard.sh [options of tensorboard]      for example --port 6007
. "$(dirname "$0")/setup_env.sh"
use_environment

python -m tensorboard.main --logdir checkpoints "$@"
