"""Tasks: their targets, outputs and metric values, and the terms of losses.

- loss_terms: Parses --loss, a loss or a weighted sum of losses
- one_logit: Binary classification with one logit per sample
- target_scale: Regression on standardised targets
- targets: Checks and conversions of targets
- task: What a task is
- classification, multilabel, regression, restoration, segmentation: The tasks
- tasks: The registry of tasks, and what follows from a task and other options
"""
