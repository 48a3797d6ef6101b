"""The directory of a run: lock, checkpoints, event files, ledger, results.

- async_writer: Writing checkpoints in the background
- checkpoint: Reading and writing checkpoints
- event_files: TensorBoard event files of a resumed run
- foreign_files: What a file is that is not a checkpoint
- inert_objects: Reading weights beside objects of unknown classes
- ledger: One line of JSON for each test
- lock: At most one process per run directory
- result_directory: Atomic results of a test, with numbered earlier ones
- results: Reading the tests of runs: ledgers and result.txt
- results_table: The table of values that a test prints
- run: Reading a run from its directory
- run_directory: Creating and removing directories of runs and tests
- run_index: Finding runs by name or path
- run_table: Facts about runs for tables
- state_dicts: Selection of a state dict in a file, and matching of names
- step_log: Lines in log.txt during an epoch (--log_steps)
- summaries: repr of Trainer, Evaluator and Predictor
- tensorboard: Hyperparameters, graphs, histograms and charts for TensorBoard
- weights_file: Weights alone, as safetensors
"""
