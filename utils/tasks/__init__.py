"""Tasks: their targets, outputs and metric values, and the terms of losses.

- loss_terms: Parses --loss, a loss or a weighted sum of losses
- metric_values: The metric values of each task and their directions
- one_logit: Binary classification with one logit per sample
- target_scale: Regression on standardised targets
- task_predictions: Decoding of predictions, and their values in predictions.csv
- targets: Checks and conversions of targets
- tasks: The tasks
"""
