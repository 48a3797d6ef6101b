#!/usr/bin/env bash
# Create .venv if no environment is active, install the requirements, train LeNet on the 5,000 bundled handwritten
# digits, test the best epoch on 1,000 other digits, and open the report where there is a desktop.
#
#     scripts/quickstart.sh [options of train.py]        for example --epochs 3, or --no_open
. "$(dirname "$0")/setup_env.sh"
install_requirements requirements.txt

# Each start creates a new directory: lenet_quickstart, lenet_quickstart_2 ...
python train.py --model_type lenet --data_type digits --save_prefix quickstart \
    --epochs 15 --batch_size 32 --lr 2e-3 --label_smoothing 0.1 --open "$@"

first=
[ "${VIRTUAL_ENV:-}" != "$ROOT/.venv" ] || first=" (first, once per terminal: . $ACTIVATE)"
cat <<TEXT

Next$first:
    bash scripts/tensorboard.sh
    # your images, DIR/<class>/*.jpg
    python train.py --data_type folder --train_list DIR --val_split 0.2 \\
        --model_type torchvision:resnet18 --pretrained
TEXT
