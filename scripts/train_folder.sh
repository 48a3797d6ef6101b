#!/usr/bin/env bash
# Train torchvision's ResNet-18, pretrained on ImageNet, on your own images, in one directory per class:
#
#     DATA/train/<class>/<any name>.jpg
#     DATA/val/<class>/<any name>.jpg
#
#     DATA=/path/to/images scripts/train_folder.sh [options of train.py]
#
# --no_pretrained starts from random weights, without a download.
DATA=${DATA:-datasets/folder} # absolute, or relative to the project root
. "$(dirname "$0")/setup_env.sh"
use_environment
require_data "$DATA/train" 'It must have one subdirectory with images per class, as must the directory val beside it.' \
    'For another directory: DATA=/path/to/images scripts/train_folder.sh'

python train.py \
    --model_type torchvision:resnet18 \
    --pretrained \
    --data_type folder \
    --train_list "$DATA/train" \
    --val_list "$DATA/val" \
    --image_size 224 \
    --augment flip \
    --save_prefix folder \
    --lr 1e-4 \
    --batch_size 32 \
    --epochs 20 \
    "$@"
