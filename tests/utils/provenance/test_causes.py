"""What has changed since a run, besides the definitions that it is known to use."""

import zipfile

import pytest

from utils.provenance import causes
from utils.provenance.causes import NO_CAUSE, Cause, describe_causes, file_causes, unread_file_causes
from utils.provenance.code_fingerprint import Source

THEN = {
    'model/net.py': 'def cap(x):\n    return x\n',
    'model/table.json': '{"scale": 1}\n',
    'model/unused.py': 'A = 1\n',
    'model/notes.yaml': 'a: 1\n',
    'model/ops.cu': '// 1\n',
    'README.md': 'text\n',
}


@pytest.fixture
def changed(tmp_path, monkeypatch):
    """Return a function: (files changed since, files opened) -> causes of used files, and of others (lists of str)."""

    def found(changes, opened):
        project = tmp_path / 'project'
        for name, text in {**THEN, **changes}.items():
            (project / name).parent.mkdir(parents=True, exist_ok=True)
            (project / name).write_text(text, encoding='utf-8')
        with zipfile.ZipFile(tmp_path / 'source.zip', 'w') as archive:
            for name, text in THEN.items():
                archive.writestr(name, text)
        monkeypatch.setattr(causes, 'PROJECT', project)
        monkeypatch.setattr(causes, 'imported_files', lambda: {'model/net.py', 'model/tail.py'})
        monkeypatch.setattr(causes, 'opened_files', lambda: opened)
        then = Source(tmp_path / 'source.zip')
        return file_causes(then), [each.text for each in unread_file_causes(then)]

    return found


def test_unchanged_files_and_changed_comments_are_no_cause(changed):
    assert changed({'model/net.py': '"""A text."""\ndef cap(x):\n    # why\n    return x\n'}, set()) == ([], [])


def test_an_imported_file_is_named_with_its_diff_and_one_that_is_not_imported_is_not(changed):
    used, others = changed(
        {'model/net.py': 'def cap(x):\n    return x.clamp(max=3)\n', 'model/unused.py': 'A = 2\n'}, set()
    )
    assert [each.text for each in used] == ['model/net.py']
    assert used[0].diff[-2:] == ['-    return x', '+    return x.clamp(max=3)']
    assert others == []


def test_files_that_were_opened_are_named_whatever_they_hold(changed):
    changes = {'model/table.json': '{"scale": 2}\n', 'model/unused.py': 'A = 2\n', 'model/notes.yaml': 'a: 2\n'}
    used, others = changed(
        {**changes, 'README.md': 'new\n'}, {'model/table.json', 'model/__pycache__/unused.cpython-311.pyc'}
    )
    assert [each.text for each in used] == ['model/unused.py', 'model/table.json']
    assert others == ['model/notes.yaml (not seen to be read)']
    _, others = changed(changes, None)
    assert others == ['model/notes.yaml (not seen to be read)', 'model/table.json (not seen to be read)']


def test_sources_to_be_compiled_are_named_without_being_opened(changed):
    assert changed({'model/ops.cu': '// 2\n'}, set()) == ([], ['model/ops.cu (not seen to be read)'])


def test_long_lists_and_diffs_are_cut():
    lines = describe_causes([Cause(f'file{n}.py', ['+x'] * 50) for n in range(10)])
    assert lines[:2] == ['file0.py', '  +x']
    assert '  ... and 40 more lines' in lines
    assert lines[-1] == 'and 2 more: file8.py, file9.py'
    assert describe_causes([]) == [NO_CAUSE]
