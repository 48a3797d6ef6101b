"""--model_source: a file of one's own that has the classes of whole models, and the class behind source:<name>.

torch.save(net) writes the name of the module that the class is in, as a rule `model` for a tutorial's model.py, which
is a package of Danlu's own here. The file is run as a module of another name, and classes are looked for in it.
Imports no torch unless something is loaded.
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

SOURCE = 'source:'  # before the name of a class, as --model_type
COPY = 'model_source.py'  # of a run, in its directory


def classes_in(path):
    """Return the names of the classes (list of str) that a Python file defines; [] where it cannot be read."""
    try:
        tree = ast.parse(read_regular_text(path))
    except (OSError, ValueError, SyntaxError):
        return []
    return [node.name for node in tree.body if isinstance(node, ast.ClassDef)]


def fault_of_source(args):
    """Return what is wrong with --model_type and --model_source together (str), or None.

    Args:
        args: options; of a training, which has an optimizer, the class has to be chosen.
    """
    path, by_source = args.model_source, args.model_type.startswith(SOURCE)
    if by_source and path is None:
        near = resolved(Path(args.load_model_path or '', '..', COPY))
        where = near if args.load_model_path and near.is_file() else 'path/to/the/file.py'
        return f'{args.model_type} is a class in a file of your own: give --trust_checkpoint --model_source {where}'
    typed = 'model_type' in getattr(args, 'typed', ())
    if path is not None and hasattr(args, 'optimizer') and not by_source and not typed:
        names = ', '.join(f'{SOURCE}{name}' for name in classes_in(path)) or f'{SOURCE}<class>'
        return f'needed with --model_source: which network to train: {names}, or the name of a model'
    return None


def choose_class(args):
    """Take the class of --model_source for --model_type, which nobody gave, where the file has one class alone."""
    if args.model_source is not None and not args.model_type.startswith(SOURCE):
        names = classes_in(args.model_source)
        args.model_type = f'{SOURCE}{names[0]}' if len(names) == 1 else args.model_type


def load_source(path):
    """Return a Python file as a module, which runs it; its directory can be imported from, behind all others.

    Raises:
        DanluError: it cannot be run.
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
    except Exception as error:  # whatever it does
        del sys.modules[name]
        own = isinstance(error, ImportError) and "; Danlu's own model, data and utils stand before files of these names"
        text = f'{type(error).__name__}: {message_of(error)}{own or ""}'
        raise DanluError(f'--model_source {path} cannot be run: {text}') from error
    return module


def class_of_source(model_type, path):
    """Return the class or function that a model_type source:<name> stands for.

    Args:
        model_type: 'source:Tudui' (str).
        path: of the file; None: nobody has given it.

    Raises:
        DanluError: it is not there.
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
    """Return the model_type (str) of an object whose class is in a --model_source, or None."""
    kind = type(thing)
    return f'{SOURCE}{kind.__qualname__}' if kind.__module__.startswith('model_source_') else None


def pickle_module(path):
    """Return a module like `pickle` that finds classes in a --model_source, for torch.load.

    A class of a module that is called as the file, or of the program that saved the model, is taken from the file; any
    other where it cannot be imported.
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
    """Copy the file of a network source:<class> into the run's directory: tests of its checkpoints need it."""
    target = Path(args.model_dir, COPY)
    if args.model_source is None or not args.model_type.startswith(SOURCE) or Path(args.model_source) == target:
        return
    shutil.copyfile(regular(args.model_source), target)
