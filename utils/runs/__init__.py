"""One run's directory: lock, checkpoints, event files, ledger, results.

- async_writer: Writes checkpoints while training goes on
- checkpoint: Checkpoint files
- event_files: TensorBoard event files of a resumed run
- foreign_files: Files that are given as checkpoints and are something else
- inert_objects: Files of torch.save that hold objects beside the weights
- ledger: The ledger
- lock: One process at a time writes into a run's directory
- result_directory: The files of a test
- results_table: What a test prints at its end
- run_directory: Directories of runs and tests
- state_dicts: The weights in a file
- step_log: Lines in log.txt while an epoch goes by (--log_steps), and the time of day beside them
- summaries: What a Trainer, an Evaluator and a Predictor show of themselves in a notebook or a debugger
- tensorboard: What TensorBoard shows besides scalars and pictures
"""
