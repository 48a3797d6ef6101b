#!/usr/bin/env bash
# Train with the seeds 0, 1 ... N-1, one after the other; then print mean, standard deviation and 95% confidence interval.
#
#     scripts/seeds.sh N [options of train.py]        for example 5 --model_type lenet --epochs 3
#
# The runs are named <model_type>_<save_prefix>_seed0 and so on. Repeat the command to resume, or with a larger N to add
# seeds.
. "$(dirname "$0")/setup_env.sh"
use_environment
[[ ${1:-} =~ ^[1-9][0-9]*$ ]] || fail 'usage: scripts/seeds.sh N [options of train.py]   (N: number of seeds)'
count=$1
shift

read_series_options "the seeds are 0 to $((count - 1))" seed -- "$@"
for ((seed = 0; seed < count; seed++)); do
    train_in_series "$@" --seed "$seed" --save_prefix "${prefix}_seed$seed"
done
python scripts/runs.py seeds "${runs[@]}"
