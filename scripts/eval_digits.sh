#!/usr/bin/env bash
# Test a run of train_digits.sh on the 1,000 test digits, with an image of every hundredth digit.
#
#     scripts/eval_digits.sh [RUN [options of eval.py]]        default RUN: checkpoints/lenet_digits
RUN=${1:-checkpoints/lenet_digits} # absolute, or relative to the project root
. "$(dirname "$0")/setup_env.sh"
use_environment

require_data "$RUN/best.pth" 'Train first (scripts/train_digits.sh), or name the run: scripts/eval_digits.sh RUN'

python eval.py \
    --load_model_path "$RUN/best.pth" \
    --save_prefix digits \
    --save_viz \
    --viz_freq 100 \
    "${@:2}"
