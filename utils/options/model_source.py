"""--model_source: the user's Python file with the classes of whole models, and --model_type source:<class>.

torch.save(net) stores the module name of the class, often `model` for a tutorial's model.py, and `model` is a package
of Danlu. So the file is run under another module name, and classes are looked up in that module. Imports no torch
unless a file is loaded.
"""

import ast
import importlib.util
import pickle
import shutil
import sys
import types
from functools import reduce
from pathlib import Path

from utils.base.errors import DanluError, message_of
from utils.base.regular_files import read_regular_text, regular, resolved

SOURCE = 'source:'  # prefix of a class name in --model_type
COPY = 'model_source.py'  # copy of the file in a run directory


def classes_in(path):
    """Return the names of the classes (list of str) that a Python file defines; [] if it cannot be read."""
    try:
        tree = ast.parse(read_regular_text(path))
    except (OSError, ValueError, SyntaxError):
        return []
    return [node.name for node in tree.body if isinstance(node, ast.ClassDef)]


def fault_of_source(args):
    """Return why --model_type and --model_source do not go together (str), or None."""
    path, by_source = args.model_source, args.model_type.startswith(SOURCE)
    if by_source and path is None:
        near = resolved(Path(args.load_model_path or '', '..', COPY))
        where = near if args.load_model_path and near.is_file() else 'path/to/the/file.py'
        return f'{args.model_type} is a class in your own file: give --trust_checkpoint --model_source {where}'
    typed = 'model_type' in getattr(args, 'typed', ())
    if path is not None and hasattr(args, 'optimizer') and not by_source and not typed:
        names = ', '.join(f'{SOURCE}{name}' for name in classes_in(path)) or f'{SOURCE}<class>'
        return f'needed with --model_source, the network to train: {names}, or the name of a model'
    return None


def choose_class(args):
    """Set --model_type to the class of --model_source if the file has exactly one class."""
    if args.model_source is not None and not args.model_type.startswith(SOURCE):
        names = classes_in(args.model_source)
        args.model_type = f'{SOURCE}{names[0]}' if len(names) == 1 else args.model_type


def load_source(path):
    """Run a Python file and return it as a module; its directory is appended to sys.path.

    Raises:
        DanluError: the file cannot be run.
    """
    path = resolved(path)
    name = f'model_source_{path.stem}'
    known = sys.modules.get(name)
    if known is not None and known.__file__ == str(path):
        return known
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None:
        raise DanluError(f'--model_source {path} is not a Python file')
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # the file may raise anything
        del sys.modules[name]
        own = isinstance(error, ImportError) and "; the names model, data, programs and utils mean Danlu's own packages"
        text = f'{type(error).__name__}: {message_of(error)}{own or ""}'
        raise DanluError(f'--model_source {path} cannot be run: {text}') from error
    return module


def class_of_source(model_type, path):
    """Return the class or function that --model_type source:<name> names.

    Args:
        model_type: for example 'source:Tudui' (str).
        path: of the file, or None if not given.

    Raises:
        DanluError: no file is given, or the file has no such class.
    """
    name = model_type.removeprefix(SOURCE)
    if path is None:
        raise DanluError(f'{model_type}: give --trust_checkpoint --model_source path/to/the/file.py')
    found = getattr(load_source(path), name, None)
    if not callable(found):
        known = ', '.join(classes_in(path)) or 'none'
        raise DanluError(f'--model_type {model_type}: {path} has no class {name} (its classes: {known})')
    return found


def type_in_source(thing):
    """Return the model_type (str) of an object whose class is in a --model_source file, or None."""
    kind = type(thing)
    return f'{SOURCE}{kind.__qualname__}' if kind.__module__.startswith('model_source_') else None


def pickle_module(path):
    """Return a module like `pickle` that finds classes in a --model_source file, for torch.load.

    Classes of a module with the name of the file, and of __main__, come from the file; other classes come from the
    file if they cannot be imported.
    """
    source, found = load_source(path), types.ModuleType('pickle')
    vars(found).update({name: value for name, value in vars(pickle).items() if not name.startswith('__')})

    class Unpickler(pickle.Unpickler):
        def find_class(self, module, name):
            has_it = hasattr(source, name.partition('.')[0])
            own = has_it and (module == '__main__' or module.rpartition('.')[2] == Path(path).stem)
            if not own:
                try:
                    return super().find_class(module, name)
                except (ImportError, AttributeError):
                    if not has_it:
                        raise
            return reduce(getattr, name.split('.'), source)

    found.Unpickler = Unpickler
    return found


def keep_source(args):
    """Copy the file of --model_type source:<class> into the run directory, for tests of its checkpoints."""
    target = Path(args.model_dir, COPY)
    if args.model_source is None or not args.model_type.startswith(SOURCE) or Path(args.model_source) == target:
        return
    shutil.copyfile(regular(args.model_source), target)
