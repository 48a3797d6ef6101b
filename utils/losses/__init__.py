"""The loss classes; loss.py has the registry.

- binary: Loss of binary classification with one logit
- classification: Losses of exclusive classes
- common: Helpers shared by several losses
- function_loss: A loss function as a module
- multilabel: Losses of multilabel classification
- region: Losses of segmentation that compare regions
- regression: Losses of regression and restoration
- weighted_sum: A weighted sum of losses
"""
