#!/usr/bin/env bash
# LeNet on the 5,000 handwritten digits in data/digits.npz, which come with the project.
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
