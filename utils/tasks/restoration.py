"""Restoration: an image per sample, such as denoising."""

from utils.tasks.task import Task

TASK = Task(
    target='picture',
    outputs='channels',
    target_noun='target images',
    losses=('l1', 'mse', 'huber', 'charbonnier', 'ssim'),
    values={'psnr': 'max', 'ssim': 'max', 'mae': 'min'},
    decode=lambda pixels: pixels.clamp(0, 1),
    sum_metrics=('psnr', 'ssim', 'mae'),
    quality='psnr',
    tie_break='ssim',
    columns='utils.evaluation.columns.of_picture',
    unlabelled='utils.evaluation.unlabelled_results.Results',
    tta=('flip',),
    report='utils.html_report.task_reports.RESTORATION',
)
