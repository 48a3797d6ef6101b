"""The metric classes; metrics.py has the registry.

- auroc_ap: How well scores put the samples of a class before the others, class by class
- base: The base of all metrics
- classification: Metrics of classification
- confusion: Metrics of exclusive classes, read from counts by class or from a confusion matrix
- multilabel: Metrics of multilabel
- ready_metrics: Metrics handed over as objects
- regression: Metrics of regression and restoration, whose targets are numbers
- segmentation: Metrics of segmentation
- ssim: How alike pictures are
"""
