"""All code opens files by utils/base/regular_files.py, so that nothing waits for a pipe in place of a file."""

import ast
import os
import re
from pathlib import Path

import pytest

from utils.base.registry import PROJECT
from utils.base.regular_files import (
    NotRegularError,
    made_regular,
    naming,
    open_handle,
    open_regular,
    regular,
    resolved,
    write_regular_text,
)

# For developers: they read what the project itself has made.
DEVELOPERS = 'scripts/dev/'
SAFE = {'regular', 'made_regular', 'open_regular', 'replacing', 'BytesIO', 'StringIO', 'made'}
# Functions of libraries that open what their first argument names.
OPENING = {
    *('np.load', 'np.memmap', 'np.fromfile', 'np.loadtxt', 'np.genfromtxt', 'np.save', 'np.savez', 'torch.load'),
    *('torch.jit.load', 'zipfile.ZipFile', 'zipfile.is_zipfile', 'tarfile.open', 'Image.open', 'sqlite3.connect'),
    *('os.open', 'io.open', 'gzip.open', 'bz2.open', 'lzma.open', 'codecs.open', 'shutil.copyfile', 'shutil.copy'),
    *('load_file', 'safe_open', 'pd.read_csv', 'ZipFile', 'open'),
}
METHODS = ('read_text', 'read_bytes', 'write_text', 'write_bytes', 'open', 'savefig', 'export_chrome_trace', 'touch')
WORDS = re.compile('|'.join(sorted({*METHODS, *(name.rpartition('.')[2] for name in OPENING)})))
# What the syntax shows and is none of it.
ALLOWED = {
    'utils/base/regular_files.py': 'opens files for all others',
    'programs/trainer_build.py: self.session.open(notes)': 'a method of RunSession',
    'utils/training/continuation.py: session.open([])': 'a method of RunSession',
    'utils/base/streams.py': 'os.devnull',
    'utils/runs/checkpoint.py: os.open(path, os.O_RDONLY)': 'a directory, for fsync',
    'utils/provenance/code_fingerprint.py: then.read_bytes(path)': 'a method of symbol_resolver.Source',
    'utils/provenance/code_fingerprint.py: now.read_bytes(path)': 'a method of symbol_resolver.Source',
    'utils/provenance/symbol_resolver.py: self.read_bytes(path)': 'a method of symbol_resolver.Source',
    'scripts/run_commands/run_code.py: archive.open(info)': 'in a zip archive',
    'utils/provenance/causes.py: then.read_bytes(path)': 'a method of symbol_resolver.Source',
    'utils/provenance/causes.py: now.read_bytes(path)': 'a method of symbol_resolver.Source',
    'utils/provenance/run_archive.py: archive.open(entry)': 'in a tar archive',
    'utils/base/desktop.py: webbrowser.open(': 'opens an address in a browser',
    'utils/runs/inert_objects.py: archive.open(name)': 'in a zip archive',
}


def sources():
    """Return the files (list of relative str) of the product that may open others."""
    found = [*PROJECT.glob('*.py')]
    for folder in ('data', 'loss', 'metrics', 'model', 'programs', 'utils', 'scripts', 'examples'):
        found += sorted((PROJECT / folder).rglob('*.py'))
    names = [path.relative_to(PROJECT).as_posix() for path in found]
    return [name for name in names if not name.startswith(DEVELOPERS)]


def openings(tree):
    """Return the calls (list of ast.Call) in a syntax tree that open a path in another way than by regular_files."""
    found, safe = [], None
    for node in own_nodes(tree):
        if isinstance(node, ast.FunctionDef):
            found += openings(node)
        elif isinstance(node, ast.Call) and may_open(node):
            safe = safe_names(tree) if safe is None else safe
            found += [node] if opens(node, safe) else []
    return found


def own_nodes(function):
    """Yield the nodes below a module or function, of functions within the function alone."""
    left = list(ast.iter_child_nodes(function))
    while left:
        node = left.pop()
        yield node
        left += [] if isinstance(node, ast.FunctionDef) else ast.iter_child_nodes(node)


def safe_names(function):
    """Return the names (set of str) that stand for an opened file or a checked path in a function."""
    bound = []
    for node in ast.walk(function):
        if isinstance(node, ast.With):
            bound += [(item.optional_vars, item.context_expr) for item in node.items if item.optional_vars is not None]
        if isinstance(node, ast.Assign):
            bound += [(target, node.value) for target in node.targets]
    return {
        target.id
        for target, value in bound
        if isinstance(target, ast.Name) and any(name_of(call) in SAFE for call in calls_in(value))
    }


def calls_in(node):
    return [each for each in ast.walk(node) if isinstance(each, ast.Call)]


def name_of(call):
    """Return what is called (str), without the object that a method is of."""
    return ast.unparse(call.func).rpartition('.')[2]


def may_open(call):
    """Return whether a call is of a function or method that opens files (bool)."""
    if isinstance(call.func, ast.Attribute) and call.func.attr in METHODS:
        return True
    return isinstance(call.func, ast.Name | ast.Attribute) and ast.unparse(call.func) in OPENING


def opens(call, safe):
    """Return whether such a call opens a path (bool); `safe`: names of opened files and checked paths."""
    if any(keyword.arg == 'fileobj' for keyword in call.keywords):
        return False
    first = call.args[0] if call.args else None
    if isinstance(first, ast.Name) and first.id in safe:
        return False
    return first is None or not any(name_of(each) in SAFE for each in calls_in(first))


def test_no_other_code_opens_a_path():
    wrong, met = [], set()
    for name in sources():
        text = (PROJECT / name).read_text(encoding='utf-8')
        for call in openings(ast.parse(text)) if WORDS.search(text) else ():
            text = f'{name}: {ast.unparse(call)}'
            known = {allowed for allowed in ALLOWED if text.startswith(allowed)}
            met |= known
            wrong += [] if known else [f'line {call.lineno} of {text}']
    assert not wrong, 'open it by utils.base.regular_files, as a pipe in its place would be waited for: ' + '; '.join(
        wrong
    )
    assert met == set(ALLOWED), 'an allowed call no longer exists'


@pytest.mark.parametrize(
    'text',
    [
        'open(path)',
        'with path.open() as file: pass',
        'Path(x).read_text()',
        'def f(path):\n    return np.load(path)',
        'zipfile.ZipFile(path)',
        'torch.load(path, weights_only=True)',
        'os.open(path, os.O_RDONLY)',
        'def f(path):\n    with open_regular(other) as file:\n        return Image.open(path)',
    ],
)
def test_the_search_finds(text):
    assert len(openings(ast.parse(text))) == 1


@pytest.mark.parametrize(
    'text',
    [
        'open_regular(path)',
        'np.load(regular(path))',
        'zipfile.ZipFile(io.BytesIO(data))',
        'def f(path):\n    with open_regular(path) as file, zipfile.ZipFile(file) as archive:\n        pass',
        'tarfile.open(fileobj=file)',
    ],
)
def test_the_search_leaves_out(text):
    assert openings(ast.parse(text)) == []


needs_pipes = pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='needs pipes')


@needs_pipes
@pytest.mark.parametrize('mode', ['rb', 'wb', 'ab', 'a+b'])
def test_a_pipe_is_refused_at_once_for_writing_too(tmp_path, mode):
    os.mkfifo(tmp_path / 'x')
    for use in (
        lambda path: open_regular(path, mode),
        regular,
        made_regular,
        lambda path: write_regular_text(path, 'x'),
    ):
        with pytest.raises(NotRegularError, match='not a regular file'):
            use(tmp_path / 'x')


@needs_pipes
def test_a_pipe_that_replaces_a_checked_file_is_refused(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / 'x')
    monkeypatch.setattr('utils.base.regular_files.check_regular', lambda path: None)
    with pytest.raises(NotRegularError):
        open_handle(tmp_path / 'x', os.O_RDONLY)


def test_new_files_are_made_with_the_usual_permissions(tmp_path):
    mask = os.umask(0o022)
    try:
        write_regular_text(tmp_path / 'a', 'é\n')
        (tmp_path / 'b').write_text('é\n', encoding='utf-8')
    finally:
        os.umask(mask)
    assert (tmp_path / 'a').stat().st_mode == (tmp_path / 'b').stat().st_mode
    assert (tmp_path / 'a').read_bytes() == (tmp_path / 'b').read_bytes()
    with open_regular(tmp_path / 'a', 'a', encoding='utf-8') as file:
        file.write('more')
    assert Path(tmp_path / 'a').read_text(encoding='utf-8') == 'é\nmore'
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / 'none')
    with pytest.raises(FileExistsError):
        open_regular(tmp_path / 'a', 'xb')


def test_a_link_to_itself_is_no_regular_file(tmp_path):
    loop = tmp_path / 'x'
    loop.symlink_to('x')
    for use in (open_regular, regular, made_regular):
        with pytest.raises(NotRegularError, match='a link that leads back to itself'):
            use(loop)
    assert resolved(loop) == loop
    (tmp_path / 'a').symlink_to(tmp_path)
    assert resolved(tmp_path / 'a' / 'b') == tmp_path.resolve() / 'b'


def test_an_error_of_writing_has_the_name_of_the_file(tmp_path):
    with pytest.raises(OSError, match='space') as caught, naming(tmp_path / 'x'):
        raise OSError(28, 'no space')
    assert caught.value.filename == str(tmp_path / 'x')


@pytest.mark.skipif(not hasattr(os, 'SEEK_HOLE'), reason='this system does not tell of holes')
@pytest.mark.parametrize(('before', 'behind'), [(b'', b''), (b'begin', b''), (b'begin', b'end')])
def test_a_sparse_file_is_not_read(tmp_path, before, behind):
    path = tmp_path / 'x'
    path.write_bytes(before)
    os.truncate(path, 2**40)
    with open(path, 'r+b') as file:
        file.seek(2**40)
        file.write(behind)
    with pytest.raises(NotRegularError, match=r'it is a sparse file, of which 1,099,511,[0-9,]+ bytes are a hole'):
        open_regular(path)
    open_regular(path, 'r+b').close()  # as a cache that is being filled
    os.truncate(path, 2**29)
    with open_regular(path) as file:
        assert file.read(len(before)) == before
