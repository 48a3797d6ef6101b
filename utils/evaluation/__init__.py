"""Predictions of single samples, and what a test saves of them.

- predictions: predictions.csv
- saved_outputs: --save_outputs
"""
