#!/usr/bin/env bash
# Start TensorBoard with the curves, images and options of the runs; open the printed address in a browser.
#
#     scripts/tensorboard.sh [options of tensorboard]      for example --port 6007
#
# Of more than 40 runs, TensorBoard hides all curves in most of its tabs, so it gets the newest 40, also while it is open;
# --logdir checkpoints gives it all.
. "$(dirname "$0")/setup_env.sh"
use_environment
MAX_RUNS=40
LINK_SECONDS=${LINK_SECONDS:-15} # between two looks for new runs

# Print the directories with event files, the newest first.
runs_by_age() {
    { ls -t checkpoints/*/events.out.tfevents.* checkpoints/*/*/events.out.tfevents.* 2>/dev/null || true; } |
        sed 's|/[^/]*$||; /\/steps$/d' | awk '!seen[$0]++'
}

# Let the directory $1 have links to the newest runs, and to no others.
link_newest() {
    newest=$(runs_by_age | awk -v most="$MAX_RUNS" 'NR <= most')
    find "$1" -type l | while IFS= read -r link; do
        grep -qxF "checkpoints/${link#"$1"/}" <<<"$newest" || rm "$link"
    done
    while IFS= read -r run; do
        link=$1/${run#checkpoints/}
        [ -e "$link" ] && continue
        mkdir -p "$(dirname "$link")"
        ln -sfn "$ROOT/$run" "$link"
    done <<<"$newest"
}

case " $* " in *" --logdir"* | *" --inspect "*) exec python -m tensorboard.main "$@" ;; esac
count=$(runs_by_age | wc -l | tr -d " ")
if [ "$count" -le "$MAX_RUNS" ]; then
    exec python -m tensorboard.main --logdir checkpoints "$@"
fi
logdir=$(mktemp -d)
link_newest "$logdir"
echo "the newest $MAX_RUNS of $count runs; all: scripts/tensorboard.sh --logdir checkpoints"
while sleep "$LINK_SECONDS" && kill -0 $$ 2>/dev/null; do link_newest "$logdir"; done >/dev/null 2>&1 &
trap 'kill $!; rm -rf "$logdir"' EXIT
python -m tensorboard.main --logdir "$logdir" "$@"
