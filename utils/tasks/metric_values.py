"""The metric values of each task and their directions. Imports no torch."""

# The values over all classes and their directions; the first value selects the best checkpoint.
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

# The values that only --metrics adds. acc_top5 is also always computed for more than five classes.
EXTRA_METRICS = {
    'classification': ('auroc', 'acc_top5'),
    'segmentation': ('f1_macro', 'precision_macro', 'recall_macro'),
    'multilabel': ('auroc',),
}
