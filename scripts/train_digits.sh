#!/usr/bin/env bash
# Train LeNet on the 5,000 bundled handwritten digits (data/digits.npz).
#
#     scripts/train_digits.sh [options of train.py]
. "$(dirname "$0")/setup_env.sh"
use_environment

python train.py \
    --model_type lenet \
    --data_type digits \
    --save_prefix digits \
    --lr 1e-3 \
    --batch_size 64 \
    --epochs 10 \
    "$@"
