"""Records of code, data and environment of a run, and checks of what changed since.

- causes: What has changed, where a test or a network no longer gives what was recorded
- checkpoint_check: Whether a loaded checkpoint still gives the outputs it was saved with
- code_fingerprint: Hashes of the definitions that a run uses, and what changed since
- contents: Hashes of the samples of a run, and which samples changed
- contents_log: The bytes that a run reads, recorded after each epoch
- duplicate_run: Earlier runs with the same options, code and data
- earlier_values: The values recorded for a checkpoint, and which of a test's are others
- entry_points: The classes and functions that a run was built from
- environment: Versions, machine, settings, git state
- kept_code: The code that tests ran with, one archive for each version
- layer_outputs: What each layer of a network gives, and the first layer that gives something else
- output_fingerprint: Outputs of a network for a fixed input, saved in each checkpoint
- probe_samples: Inputs of the validation, stored as a probe
- project_source: The source files of the project, and their archive
- record: env.txt, source.zip and record.json
- recorded_code: eval.py --code then and both
- replay_log: The first steps of a run, for `python scripts/runs.py replay`
- resume_check: Comparison of a resumed run with the interrupted one
- run_archive: A run in one archive, for another clone
- source_archive: Unpacking source.zip into a cache
- source_ast: Definitions and references in a Python file, without executing it
- symbol_resolver: Definitions by dotted name, across files
- used_files: The files of the project that this process uses
"""
