#!/usr/bin/env bash
# Start TensorBoard with the curves, images and options of the runs; open the printed address in a browser.
#
#     scripts/tensorboard.sh [options of tensorboard]      for example --port 6007
#
# scripts/start_tensorboard.py says which runs TensorBoard gets.
. "$(dirname "$0")/setup_env.sh"
use_environment
exec python scripts/start_tensorboard.py "$@"
