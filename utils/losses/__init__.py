"""The loss classes; loss.py has the registry.

- binary: The loss of classification with two classes and one logit
- classification: Losses of exclusive classes
- common: What several losses need
- function_loss: A loss function as a module
- multilabel: Losses of multilabel
- region: Losses of segmentation that compare whole regions
- regression: Losses of regression and restoration, whose targets are numbers
- weighted_sum: A weighted sum of losses
"""
