"""The modules of scripts/dev/plant_changes.py: changes that are planted into a copy of the project with its runs.

- change: Change, and edits of files
- code_changes: changes of the project's own code
- user_changes: changes of a user's code, data, environment and files
- harmless_changes: changes that change no value
- workshop: the copy of the project, its data and its runs
"""
