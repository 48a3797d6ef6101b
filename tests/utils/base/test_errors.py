"""Errors of the user end in one line and exit status 2; errors of the program keep their traceback."""

import subprocess
import sys

import pytest
from torch.utils.data import DataLoader

from utils.base.errors import DanluError, message_of
from utils.base.registry import PROJECT


class Broken:
    """A data set that raises in the worker process."""

    def __len__(self):
        return 1

    def __getitem__(self, index):
        raise DanluError('val.txt:3: cat.png: DanluError: no image')


def run(main):
    head = 'import sys\nfrom utils.base.errors import DanluError, run_main'
    code = f'{head}\n{main}\nrun_main(main, "train.py")\nprint("after")'
    return subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=PROJECT, check=False)


def test_a_mistake_of_the_user_is_one_line_and_exit_code_2():
    done = run('def main():\n    print("begun")\n    raise DanluError("--lr is 0: raise it\\n")')
    assert (done.returncode, done.stdout, done.stderr) == (2, 'begun\n', 'train.py: error: --lr is 0: raise it\n')


def test_main_returns_without_an_error():
    done = run('def main():\n    print("begun")')
    assert (done.returncode, done.stdout, done.stderr) == (0, 'begun\nafter\n', '')


def test_any_other_exception_keeps_its_traceback():
    done = run('def main():\n    raise ValueError("a bug")')
    assert done.returncode == 1
    assert done.stderr.startswith('Traceback')
    assert 'ValueError: a bug' in done.stderr


def test_an_exit_keeps_its_code():
    assert run('def main():\n    sys.exit(5)').returncode == 5


def test_ctrl_c_prints_one_line_and_exits_with_130():
    done = run('def main():\n    raise KeyboardInterrupt')
    assert (done.returncode, done.stdout, done.stderr) == (130, '', 'train.py: interrupted\n')


def test_names_that_are_not_utf_8_can_be_printed():
    done = run('def main():\n    raise DanluError("no picture: 丹炉\\udcff.png")')
    assert (done.returncode, done.stderr) == (2, 'train.py: error: no picture: 丹炉\\udcff.png\n')


def test_a_message_is_unwrapped_from_that_of_a_worker():
    with pytest.raises(DanluError) as caught:
        next(iter(DataLoader(Broken(), num_workers=1)))
    assert 'Traceback' in str(caught.value)  # else this test shows nothing
    assert message_of(caught.value) == 'val.txt:3: cat.png: DanluError: no image'


OTHERS = [
    '',
    'plain',
    'two\nlines',
    'Caught a fish',
    'DanluError: in',
    'a\nutils.errors.DanluError: b',
    'Caught\nDanluError: b',
]


@pytest.mark.parametrize('text', OTHERS)
def test_other_messages_stay_as_they_are(text):
    assert message_of(DanluError(text)) == text
