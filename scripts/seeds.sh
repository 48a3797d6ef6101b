#!/usr/bin/env bash
# The same experiment with the seeds 0, 1 ... N-1, one after the other; then mean, deviation and 95% confidence interval.
#
#     scripts/seeds.sh N [options of train.py]        for instance 5 --model_type lenet --epochs 3
#
# The runs are called <model_type>_<save_prefix>_seed0 and so on. Started again, it goes on where it was; with more seeds
# it adds those.
. "$(dirname "$0")/setup_env.sh"
use_environment
[[ ${1:-} =~ ^[1-9][0-9]*$ ]] || fail 'usage: scripts/seeds.sh N [options of train.py]   (N: how many seeds)'
count=$1
shift

prefix=exp previous=
for word in "$@"; do
    case $previous in --save_prefix | --save-prefix) prefix=$word ;; esac
    case $word in
        --save_prefix=* | --save-prefix=*) prefix=${word#*=} ;;
        --seed | --seed=*) fail "--seed: the seeds are 0 to $((count - 1)); leave it out" ;;
        --resume | --resume=*) fail '--resume: each run goes on by itself where it was begun; leave it out' ;;
    esac
    previous=$word
done

output=$(mktemp)
trap 'rm -f "$output"' EXIT
runs=()
for ((seed = 0; seed < count; seed++)); do
    python train.py "$@" --seed "$seed" --save_prefix "${prefix}_seed$seed" --resume auto | tee "$output"
    # Of a run that is done already, train.py names the checkpoint.
    runs+=("$(sed -n -E -e 's/^run: //p' -e 's/^nothing to do: --resume: (.*) (has reached|ended after) epoch .*/\1/p' \
        "$output" | tail -n 1)")
done
python scripts/runs.py seeds "${runs[@]}"
