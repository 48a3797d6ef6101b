"""Sweeps: many runs of train.py under options that Optuna proposes; scripts/sweep.py starts them."""
