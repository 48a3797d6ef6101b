"""The commands of scripts/runs.py, one module each, and the modules that they share.

Commands: command, compare, compare_predictions, diff, find_value, folds, listing, note, pack, page, removal, replay,
seeds, why. Only drawing, replaying, testing and folds import torch.

- compare_page: the HTML page of compare
- comparison: the data of compare
- diff_tests: the two sides of a diff of tests
- folds_page: the HTML page of folds, and metrics over all predictions
- number_patterns: patterns that match the printed form of a number
- pairing: reads the predictions.csv of two tests side by side
- run_code: the source code of a run, and today's
- run_filters: selects and sorts runs
- sheet: draws samples
- value_intervals: confidence intervals of a test's metrics
"""
