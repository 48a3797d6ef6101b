#!/usr/bin/env bash
# Train LeNet on MNIST: 60,000 training and 10,000 test images, downloaded (12 MB) into DATA the first time.
#
#     scripts/train_mnist.sh [options of train.py]
DATA=${DATA:-datasets} # absolute, or relative to the project root; contains MNIST/raw/
. "$(dirname "$0")/setup_env.sh"
use_environment
mkdir -p "$DATA"

python train.py \
    --model_type lenet \
    --data_type mnist \
    --data_root "$DATA" \
    --download \
    --save_prefix mnist \
    --lr 1e-3 \
    --batch_size 128 \
    --epochs 10 \
    "$@"
