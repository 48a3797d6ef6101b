"""Significance tests and bootstrap intervals: numbers in, numbers out.

- bootstrap_metrics: The metrics of result.txt as sums over samples, from the columns of predictions.csv
- ranking_bootstrap: How exact average precision and AUROC are
- significance: Is the difference of two numbers from one test set more than chance, and how exact is one?
"""
