#!/usr/bin/env bash
# Test a run of train_camvid.sh on its validation list, with an image of every tenth frame.
#
#     scripts/eval_camvid.sh RUN [options of eval.py]      for example checkpoints/unet_camvid
#
# For another list: --val_list datasets/camvid/test.txt (relative to the project root).
. "$(dirname "$0")/setup_env.sh"
[ $# -ge 1 ] || fail 'usage: scripts/eval_camvid.sh RUN [options of eval.py], RUN for instance checkpoints/unet_camvid'
use_environment
RUN=$1 # absolute, or relative to the project root
require_data "$RUN/best.pth" 'Train first (scripts/train_camvid.sh), or name another run.'

python eval.py \
    --load_model_path "$RUN/best.pth" \
    --save_prefix camvid \
    --save_viz \
    --viz_freq 10 \
    "${@:2}"
