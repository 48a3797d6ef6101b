"""Which code, data and environment made a run, and what changed since.

- checkpoint_check: Whether a checkpoint still is what it was when it was saved
- code_fingerprint: The definitions that made a run, each with a hash, and which of them are no longer what they were
- duplicate_run: Whether a run that is about to start has been made already
- entry_points: Which definitions a run was built from
- environment: What a run runs on
- output_fingerprint: What a network answers to a fixed probe
- project_source: The project's own source files
- record: What a run records of itself at its start
- recorded_code: eval.py --code then
- replay_log: What a run's first steps were, so that `python scripts/runs.py replay` can tell whether they still
- resume_check: Proof that a resumed run does what the run before it did
- source_archive: A run's source.zip as a directory that Python can start from, in a cache
- source_ast: What stands in a Python file, without running it
- symbol_resolver: Finding definitions by their names in a project's source, and what they refer to, over any
"""
