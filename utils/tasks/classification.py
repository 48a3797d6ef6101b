"""Classification: one class per sample."""

from utils.tasks.task import Task

TASK = Task(
    target='label',
    outputs='num_classes',
    target_noun='labels',
    losses=('ce', 'focal'),
    two_class_losses=('bce',),
    values={
        'acc': 'max',
        'acc_top5': 'max',
        'f1_macro': 'max',
        'precision_macro': 'max',
        'recall_macro': 'max',
        'auroc': 'max',
    },
    extra_metrics=('auroc', 'acc_top5'),
    decode=lambda logits: logits.softmax(1),
    sum_metrics=('acc',),
    quality='correct',
    tie_break='target_probability',
    columns='utils.evaluation.columns.of_label',
    unlabelled='utils.evaluation.unlabelled_results.LabelResults',
    tta=('flip', 'five_crop', 'multiscale'),
    report='utils.html_report.task_reports.CLASSIFICATION',
)
