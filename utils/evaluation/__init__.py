"""Predictions of single samples, and what a test saves of them.

- columns: The columns of predictions.csv of each task
- ensemble: several checkpoints, --ensemble
- predictions: predictions.csv
- saved_outputs: --save_outputs
- tta: --tta
- unlabelled: --predict; unlabelled_results: its predictions by task; prediction_drawing: its images in viz/
- test_files: result.txt, the page, the confusion matrix, the line for the ledger, and what a test prints
- verdict: Whether a test gives the values recorded for its checkpoint
"""
