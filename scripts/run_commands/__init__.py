"""What scripts/runs.py does with runs: one module per command, and what they share. Nothing here imports torch.

run.py reads a run's directory, finding.py finds runs, results.py the tests of runs, layout.py writes tables.
"""
