#!/usr/bin/env bash
# Cross-validation: train once on each fold of scripts/split.py, then print mean, standard deviation and 95% confidence
# interval, and join the predictions of all folds.
#
#     python scripts/split.py photos --folds 5
#     scripts/crossval.sh 5 photos_split [options of train.py]       for example --model_type cifar_cnn --image_size 32
#
# The runs are named <model_type>_<save_prefix>_fold1 and so on. Repeat the command to resume. The data is of --data_type
# list unless the options say otherwise.
START=$PWD
. "$(dirname "$0")/setup_env.sh"
use_environment
[[ ${1:-} =~ ^[1-9][0-9]*$ && -n ${2:-} && ${2:-} != -* ]] ||
    fail 'usage: scripts/crossval.sh N DIR [options of train.py]   (N: number of folds, DIR: written by split.py --folds N)'
count=$1 lists=$2
shift 2
[[ $lists == /* ]] || lists=$START/$lists
[ -f "$lists/fold_$count/val.txt" ] ||
    fail "$lists/fold_$count/val.txt does not exist: python scripts/split.py PATH --folds $count --out $lists"
[ ! -e "$lists/fold_$((count + 1))" ] || fail "$lists has more than $count folds"

read_series_options "the lists are those of $lists" train_list val_list val_split -- "$@"
for ((fold = 1; fold <= count; fold++)); do
    train_in_series --data_type list "$@" --train_list "$lists/fold_$fold/train.txt" \
        --val_list "$lists/fold_$fold/val.txt" --save_prefix "${prefix}_fold$fold"
done
python scripts/runs.py folds "${runs[@]}"
