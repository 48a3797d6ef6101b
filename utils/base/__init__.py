"""What every package may use; imports nothing of the project.

- atomic_write: Files that are replaced whole or not at all
- batches: A loader's batch
- csv_text: Names in .csv files, written so that a spreadsheet shows them as text and computes nothing
- ending_signals: Which signals ask a process to end, and ending in order when one of them comes
- errors: The one exception for mistakes that the user can mend
- file_names: One rule for names of files and classes
- known_archives: Which source archives this user's own runs wrote, by which --code then tells the user's
- machine: What this machine has
- module_prefixes: Parts of a network by the beginnings of their names, as --lr_of, --load_exclude and --freeze
- notebook: What a notebook's cell shows
- parallel_map: Many short calls on all cores, in forked processes
- process_setup: What has to be settled before torch is imported
- progress: What a person sees while batches go by
- rank_env: Which of the processes of a run this one is, by what torchrun puts into its environment
- record_schema: The types of what runs and tests leave behind
- registry: Registries
- regular_files: Opening files
- renames: What Danlu's own modules, classes and functions were called before
- seeding: Seeds that are a function of where they are used, and the state of every generator a model may draw from
- streams: stdout and stderr that cannot end a program
- synonyms: What options and names are called elsewhere and what they are called here
- terminal: Whether somebody is looking
- text_table: How programs print
- write_errors: One line for whatever keeps a run from writing its files
"""
