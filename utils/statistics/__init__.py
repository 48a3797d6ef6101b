"""Significance tests and bootstrap intervals: numbers in, numbers out.

- bootstrap_metrics: The metrics of predictions.csv as sums over samples
- paired_difference: The difference between two tests of the same samples
- ranking_bootstrap: Bootstrap intervals of average precision and AUROC
- significance: McNemar's test, bootstrap intervals, intervals of means
"""
