"""The options of a test that come from its checkpoint, where the command line leaves them out. Imports no torch."""

from utils.options.args_file import options_of
from utils.options.checks import checked
from utils.options.given_parts import parts_of
from utils.options.model_source import choose_class
from utils.options.predict_options import DATA_OF_RUN, leave_out_test_data, predicts
from utils.options.validation_options import test_list


def take_from_checkpoint(parser, args, trained):
    """Complete the options of a test by those in its checkpoint, check them and return them.

    Args:
        parser: of eval.py.
        args: options (Namespace) of the command line alone; changed.
        trained: the options in the checkpoint (dict), or None.
    """
    trained = parser.checked_record(trained, args.load_model_path)
    given = {name: getattr(args, name) for name in args.given}
    aside = {*given, *_reset(parser, given, trained)}
    wanted = [name for name in parser.names(from_checkpoint=True) if name not in aside]
    recorded, notes = parser.recorded(trained, wanted, args.load_model_path) if trained else ({}, [])
    vars(args).update(recorded)
    args.past = [*args.past, *notes]
    if not {'model_type'} & {*given, *recorded}:
        choose_class(args)
    args.trained_on, args.recorded_parts = trained.get('train_list'), parts_of(trained)
    if 'data_type' not in given and args.recorded_parts:
        args.data_faults = []
    if predicts(args):
        leave_out_test_data(args)
        return checked(parser, args)
    try:
        args.val_list = test_list(args, trained, 'val_list' in given)
    except ValueError as error:
        parser.error(f'argument --val_list: {error}')
    return checked(parser, args)


def overrides(parser, args, trained):
    """Return what the command line changed against the checkpoint (list of 'name: old -> new').

    Args:
        parser: of eval.py.
        args: options of the test.
        trained: the options in the checkpoint (dict), as of today's version.
    """
    return [
        f'{name}: {trained[name]} -> {getattr(args, name)}'
        for name in parser.names(from_checkpoint=True)
        if name in trained and getattr(args, name) != trained[name] and not (predicts(args) and name in DATA_OF_RUN)
    ]


def _reset(parser, given, trained):
    """Return the options (set of str) whose values in a checkpoint do not fit what the command line gives."""
    changed = {name for name in {**given, **trained} if given.get(name, trained.get(name)) != trained.get(name)}
    reset = {action.dest for action in options_of(parser) if changed & {*action.reset_by}}
    if 'array' in [options.get('data_type', trained.get('data_type')) for options in (given, trained)]:
        reset |= {'fit', 'crop_share'}  # features have no size
    return reset
