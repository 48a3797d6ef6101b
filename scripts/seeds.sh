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

prefix=exp previous=
for word in "$@"; do
    case $previous in --save_prefix | --save-prefix) prefix=$word ;; esac
    case $word in
        --save_prefix=* | --save-prefix=*) prefix=${word#*=} ;;
        --seed | --seed=*) fail "--seed: the seeds are 0 to $((count - 1)); omit the option" ;;
        --resume | --resume=*) fail '--resume: unfinished runs are resumed automatically; omit the option' ;;
    esac
    previous=$word
done

output=$(mktemp)
trap 'rm -f "$output"' EXIT
runs=()
for ((seed = 0; seed < count; seed++)); do
    python train.py "$@" --seed "$seed" --save_prefix "${prefix}_seed$seed" --resume auto | tee "$output"
    # For a finished run, train.py prints the checkpoint instead.
    runs+=("$(sed -n -E -e 's/^run: //p' -e 's/^nothing to do: --resume: (.*) (has reached|ended after) epoch .*/\1/p' \
        "$output" | tail -n 1)")
done
python scripts/runs.py seeds "${runs[@]}"
