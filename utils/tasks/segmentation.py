"""Segmentation: one class per pixel."""

from utils.tasks.task import Task

TASK = Task(
    target='mask',
    outputs='num_classes',
    target_noun='masks',
    losses=('ce', 'focal', 'dice', 'tversky'),
    values={'miou': 'max', 'pixel_acc': 'max', 'f1_macro': 'max', 'precision_macro': 'max', 'recall_macro': 'max'},
    extra_metrics=('f1_macro', 'precision_macro', 'recall_macro'),
    decode=lambda logits: logits.max(1).indices,
    sum_metrics=('miou', 'pixel_acc'),
    quality='miou',
    tie_break='pixel_acc',
    columns='utils.evaluation.columns.of_mask',
    unlabelled='utils.evaluation.unlabelled_results.MaskResults',
    tta=('flip', 'multiscale'),
    report='utils.html_report.task_reports.SEGMENTATION',
)
