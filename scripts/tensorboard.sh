#!/usr/bin/env bash
# Start TensorBoard with the curves, images and options of the runs; open the printed address in a browser.
#
#     scripts/tensorboard.sh [options of tensorboard]      for example --port 6007
#
# TensorBoard hides the curves of all runs if there are more than 40, so it gets the newest 40; --logdir checkpoints
# gives it all.
. "$(dirname "$0")/setup_env.sh"
use_environment
MAX_RUNS=40

# Print the directories with event files, the newest first.
runs_by_age() {
    { ls -t checkpoints/*/events.out.tfevents.* checkpoints/*/*/events.out.tfevents.* 2>/dev/null || true; } |
        sed 's|/[^/]*$||; /\/steps$/d' | awk '!seen[$0]++'
}

logdir=checkpoints
count=$(runs_by_age | wc -l | tr -d " ")
if [ "$count" -gt "$MAX_RUNS" ]; then
    logdir=$(mktemp -d)
    trap 'rm -rf "$logdir"' EXIT
    runs_by_age | awk -v most="$MAX_RUNS" 'NR <= most' | while IFS= read -r run; do
        mkdir -p "$logdir/$(dirname "${run#checkpoints/}")"
        ln -s "$ROOT/$run" "$logdir/${run#checkpoints/}"
    done
    echo "the newest $MAX_RUNS of $count runs; all: scripts/tensorboard.sh --logdir checkpoints"
fi
python -m tensorboard.main --logdir "$logdir" "$@"
