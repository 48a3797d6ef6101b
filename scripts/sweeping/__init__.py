"""Hyperparameter search by Optuna; scripts/sweep.py is the program.

- space: the search space, --set
- study: the Optuna study that workers share
- summary: the results as text
- sweep_plot: sweep.png, the history and the slices
- parallel_plot: sweep_parallel.png, the parallel coordinates
- training: the process of one trial
- worker: runs the trials
"""
