"""The values that the metrics of each task have, and which way is better. Imports no torch."""

# The values of a task over all classes, and which way is better; the first is what the best checkpoint is chosen by.
VALUES_OF = {
    'classification': {
        'acc': 'max',
        'acc_top5': 'max',
        'f1_macro': 'max',
        'precision_macro': 'max',
        'recall_macro': 'max',
        'auroc': 'max',
    },
    'segmentation': {
        'miou': 'max',
        'pixel_acc': 'max',
        'f1_macro': 'max',
        'precision_macro': 'max',
        'recall_macro': 'max',
    },
    'multilabel': {'map': 'max', 'f1_macro': 'max', 'f1_micro': 'max', 'exact_match': 'max', 'auroc': 'max'},
    'regression': {'rmse': 'min', 'mae': 'min', 'r2': 'max'},
    'restoration': {'psnr': 'max', 'ssim': 'max', 'mae': 'min'},
}

# Those that --metrics adds; the others are always there. acc_top5 is there unasked above five classes.
EXTRA_METRICS = {
    'classification': ('auroc', 'acc_top5'),
    'segmentation': ('f1_macro', 'precision_macro', 'recall_macro'),
    'multilabel': ('auroc',),
}
