"""What a task is: its targets, outputs, default loss and monitored metric.

- loss_terms: What --loss says
- metric_values: The values that the metrics of each task have, and which way is better
- one_logit: Binary classification with one logit per sample
- target_scale: Targets of regression on a standardised scale
- targets: What losses and metrics say of targets that are of the wrong type, shape or value
- tasks: What each task makes of targets and of a model's outputs
"""
