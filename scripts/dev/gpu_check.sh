#!/usr/bin/env bash
# Check and measure Danlu on a GPU with one command of at most 8 minutes: see scripts/dev/gpu_check.py.
#
#     scripts/dev/gpu_check.sh --cifar DIR     DIR holds cifar-10-batches-py
#     scripts/dev/gpu_check.sh --dry           the same commands in small on a CPU
#
# Needs an environment with torch and torchvision; installs the other packages if they are missing.
. "$(dirname "$0")/../setup_env.sh"
use_environment
python -c 'import torch, torchvision, tensorboard, torchmetrics, simplejpeg, matplotlib, pytest, hypothesis' 2>/dev/null ||
    install_requirements requirements-dev.txt
exec python scripts/dev/gpu_check.py "$@"
