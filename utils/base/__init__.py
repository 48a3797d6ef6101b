"""Helpers for all packages; imports nothing else of the project.

- abbreviation: Messages with long lists, abbreviated on the terminal and complete in log.txt
- atomic_write: Atomic replacement of files
- batches: Batches (images, targets), and the number of samples of a loader
- content_hash: Fast hashes of the bytes of samples
- csv_text: Names in .csv files, escaped so that a spreadsheet does not read them as formulas
- ending_signals: The signals that end a process, and cleaning up when one arrives
- errors: DanluError, for errors that the user can fix, and run_main
- file_names: UTF-8 and Unicode forms of names of files and classes
- known_archives: The source archives that this user's own runs wrote, which --code trusts
- machine: Cores, memory, threads and GPUs of this machine
- module_prefixes: Selection of layers by the beginning of their names, for --lr_of, --load_exclude and --freeze
- nested: Nested dicts, lists and tuples of tensors and plain values
- notebook: Output in notebook cells
- parallel_map: Many short calls on all cores, in forked processes
- process_setup: Settings to make before torch is imported
- progress: The progress bar, and lines without a terminal
- rank_env: Rank and number of the processes, from the environment that torchrun sets
- record_schema: Type checks of checkpoints, records and the ledger
- registry: Registries
- regular_files: Opening files without blocking on pipes and devices
- renames: Earlier names of modules, classes and functions
- seeding: Seeds as functions of their position, and the state of all random generators
- streams: stdout and stderr that never raise
- synonyms: Other names of options and registry entries
- terminal: Whether output is watched, and styles
- text_table: Tables, numbers and durations as text
- write_errors: One-line errors for files that cannot be written
"""
