"""The metric classes; metrics.py has the registry.

- auroc_ap: AUROC and average precision of each class
- base: Base class of all metrics
- classification: Metrics of classification
- confusion: Metrics of exclusive classes, from counts per class or a confusion matrix
- multilabel: Metrics of multilabel classification
- ready_metrics: Metrics passed in as objects, such as those of torchmetrics
- regression: Metrics of regression and restoration
- segmentation: Metrics of segmentation
- ssim: PSNR, structural similarity and mean absolute error of images
"""
