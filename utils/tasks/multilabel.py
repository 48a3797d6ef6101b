"""Multilabel classification: any number of classes per sample."""

from utils.tasks.task import Task

TASK = Task(
    target='labels',
    outputs='num_classes',
    target_noun='sets of labels',
    losses=('bce', 'focal'),
    values={'map': 'max', 'f1_macro': 'max', 'f1_micro': 'max', 'exact_match': 'max', 'auroc': 'max'},
    extra_metrics=('auroc',),
    decode=lambda logits: logits.sigmoid(),
    sum_metrics=('f1_macro', 'f1_micro', 'exact_match'),
    quality='correct',
    tie_break='loss',
    columns='utils.evaluation.columns.of_labels',
    unlabelled='utils.evaluation.unlabelled_results.SetResults',
    tta=('flip', 'five_crop', 'multiscale'),
    report='utils.html_report.task_reports.MULTILABEL',
)
