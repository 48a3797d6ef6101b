#!/usr/bin/env bash
# torchvision's ResNet-18, from its ImageNet weights, on pictures of your own, sorted by class:
#
#     DATA/train/<class>/<any name>.jpg
#     DATA/val/<class>/<any name>.jpg
#
#     DATA=/path/to/pictures scripts/train_folder.sh [options of train.py]
#
# --no_pretrained starts from random weights and downloads none.
DATA=${DATA:-datasets/folder} # absolute, or seen from the project
. "$(dirname "$0")/setup_env.sh"
use_environment
require_data "$DATA/train" 'It has to hold a sub-directory with pictures per class, and so has val beside it.' \
    'Yours lie elsewhere? DATA=/path/to/pictures scripts/train_folder.sh'

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
