"""Option types, checks and defaults, args.txt, and migrations of older records.

- args_file: args.txt
- arguments: What argparse lacks
- checks: Checks of what concerns several options together, and their short forms
- completion: Completion of options and names by the shell, through argcomplete, where it is installed
- decoders: --decoder
- defaults: Defaults that depend on another option
- fit: --fit
- from_checkpoint: The options of a test that come from its checkpoint
- given_parts: Parts that were handed to train.Trainer ready-made
- library_names: The models of torchvision and timm by name, read from their source without importing them
- help_text: --help, --help all and --help WORD
- loss_options: What --loss may say
- metric_options: What --metrics may say, and which values each task has to choose checkpoints by
- migrations: What the options in a record of an older version mean today
- model_source: --model_source
- needs: When an option has an effect
- own_parsers: Danlu's options in an argparse.ArgumentParser that a program of one's own has made
- palette: --palette
- predict_options: --predict
- prediction_hint: What to do with pictures that have no labels
- record_parser: The parser of train.py and eval.py
- resuming: --resume
- validation_options: Where validation data comes from
"""
