#!/usr/bin/env bash
# Create .venv if no environment is active, install the requirements, train LeNet on the 5,000 bundled handwritten
# digits, test it on 1,000 other digits, and print where the results are.
#
#     scripts/quickstart.sh [options of train.py]        for example --epochs 3
. "$(dirname "$0")/setup_env.sh"
install_requirements requirements.txt

# Each start creates a new directory (lenet_quickstart, lenet_quickstart_2 ...), which train.py and eval.py print.
output=$(mktemp)
trap 'rm -f "$output"' EXIT
printed() { sed -n "s/^$1: //p" "$output" | tail -n 1; }

python train.py --model_type lenet --data_type digits --save_prefix quickstart \
    --epochs 15 --batch_size 32 --lr 2e-3 --label_smoothing 0.1 "$@" | tee "$output"
run=$(printed run)
python eval.py --load_model_path "$run/best.pth" --save_prefix quickstart --save_viz --viz_freq 100 | tee "$output"
results=$(printed results)

cat <<TEXT

numbers:     $results/result.txt
pictures:    $results/viz
everything:  $run

Next:
    ${VIRTUAL_ENV:+. $VIRTUAL_ENV/bin/activate   # once per terminal}
    tensorboard --logdir checkpoints
    python train.py --data_type folder --train_list <dir with a subdirectory per class> --val_list <same layout>
    python train.py --resume $(printf %q "$run") --epochs 30
TEXT
