"""Predictions of single samples, and what a test saves of them.

- predictions: predictions.csv
- saved_outputs: --save_outputs
- test_files: result.txt, the confusion matrix, the line for the ledger
"""
