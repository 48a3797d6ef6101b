"""Regression: one number or several per sample."""

from utils.tasks.task import Task

TASK = Task(
    target='numbers',
    outputs='num_targets',
    target_noun='numbers',
    losses=('mse', 'l1', 'huber'),
    values={'rmse': 'min', 'mae': 'min', 'r2': 'max'},
    decode=lambda numbers: numbers.clone(),
    sum_metrics=('rmse', 'mae', 'r2'),
    quality='mae',
    columns='utils.evaluation.columns.of_numbers',
    unlabelled='utils.evaluation.unlabelled_results.NumberResults',
    tta=('flip',),
    report='utils.html_report.task_reports.REGRESSION',
)
