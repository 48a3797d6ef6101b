"""Nested dicts, lists and tuples of tensors and plain values, as batches, states and checkpoints are."""


def map_nested(function, value):
    """Return nested dicts and lists with `function(leaf)` for each value that is no dict, list or tuple.

    Tuples become lists, and dict subclasses such as Counter become dicts, as checkpoints hold them.
    """
    if isinstance(value, dict):
        return {key: map_nested(function, item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [map_nested(function, item) for item in value]
    return function(value)
