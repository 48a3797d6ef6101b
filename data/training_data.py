"""The data of a training run: its loaders, what is recorded of them, and what the log says about them."""

from data.checks.class_balance import note_of_missing, notes_of_classes, notes_of_ignored
from data.checks.class_notes import class_notes
from data.checks.dataset_fingerprint import data_record, dataset_of
from data.data_entry import check_ready_made, notes_of, select_eval_loader
from data.ready_made import select_loaders
from utils.distributed import processes


def select_training_data(args, model, train_loader, val_loader):
    """Return the loaders of training and validation (None: there is no validation), and the record of their data.

    Args:
        args: options; what they leave open is filled in from the data.
        model: ready-made nn.Module, or None.
        train_loader, val_loader: ready-made loaders or data sets, or None: those of the options.

    Raises:
        DanluError: the data is at fault.
    """
    processes.check(args, train_loader, val_loader)
    if args.download and train_loader is None:
        processes.rank0_first(lambda: select_eval_loader(args))
    train_loader, val_loader = select_loaders(args, model, train_loader, val_loader)
    check_ready_made(train_loader, args)
    return train_loader, val_loader, data_record(args, train_loader, val_loader)


def notes_on_training_data(args, train_loader, val_loader, record):
    """Return lines for the log (list of str) on the training and validation data; `record` is their data_record."""
    train, val = dataset_of(train_loader), dataset_of(val_loader)
    return [
        *notes_of(train_loader, val_loader),
        *notes_of_classes(train, args),
        *notes_of_ignored(val, args, 'validation'),
        *class_notes(train, args, 'train'),
        *class_notes(val, args, 'val'),
        *note_of_missing(train, val, args.class_names, args.ignore_index),
        *record['val']['shared'],
    ]
