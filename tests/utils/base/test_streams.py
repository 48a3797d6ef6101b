"""Writing to stdout and stderr never raises: an Output drops or escapes what cannot be written."""

import errno
import io
import os
import subprocess
import sys

import pytest

from utils.base.registry import PROJECT
from utils.base.streams import Output, guarded_output


def pipe(encoding='utf-8', **options):
    """Return the reading end of a pipe (descriptor) and its writing end as a text stream."""
    reading, writing = os.pipe()
    return reading, open(writing, 'w', encoding=encoding, **options)


@pytest.mark.parametrize('encoding', ['ascii', 'latin-1', 'cp1252', 'gbk', 'utf-8'])
def test_characters_that_the_encoding_lacks_are_escaped(encoding):
    file = io.BytesIO()
    stream = io.TextIOWrapper(file, encoding=encoding)
    output = Output(stream)
    text = 'é 丹炉 \U0001f525 \udcff\n'
    assert print(text, end='', file=output, flush=True) is None
    assert output.error is None
    assert file.getvalue() == text.encode(encoding, 'backslashreplace')


def test_a_stream_that_cannot_be_configured_gets_escapes_too():
    class Plain(io.StringIO):
        encoding = 'ascii'

        def write(self, text):
            text.encode('ascii')
            return super().write(text)

    stream = Plain()
    Output(stream).write('狗 dog')
    assert stream.getvalue() == '\\u72d7 dog'


def test_a_broken_pipe_raises_nothing_and_is_known():
    reading, stream = pipe()
    output = Output(stream)
    os.close(reading)
    output.write('a')
    output.flush()
    assert output.error.errno == errno.EPIPE
    output.writelines(['b', 'c'])
    assert not output.isatty()
    with pytest.raises(BrokenPipeError):
        stream.close()


def test_a_stream_that_was_closed_raises_nothing():
    _, stream = pipe()
    stream.close()
    output = Output(stream)
    output.write('a')
    assert isinstance(output.error, ValueError)


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='has no /dev/full')
def test_a_full_disk_raises_nothing():
    with open('/dev/full', 'w', encoding='utf-8', buffering=1) as stream:
        output = Output(stream)
        output.write('a\n')
        assert output.error.errno == errno.ENOSPC
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def test_a_non_blocking_terminal_is_made_blocking():
    """Another user of the terminal, such as a Node.js parent, may set O_NONBLOCK: writes fail if the reader is slow."""
    reading, stream = pipe()
    os.set_blocking(stream.fileno(), False)
    output, text = Output(stream), 'x' * 300_000 + '\n'
    child = os.fork()
    if not child:
        os.close(stream.fileno())
        with open(reading, 'rb') as file:
            os._exit(0 if file.read() == text.encode() else 1)
    os.close(reading)
    output.write(text)
    output.flush()
    assert output.error is None
    stream.close()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_in_a_body_alone_the_streams_are_guarded(monkeypatch):
    stdout = io.StringIO()
    monkeypatch.setattr(sys, 'stdout', stdout)
    with guarded_output():
        print('inside')
        assert isinstance(sys.stdout, Output)
    assert sys.stdout is stdout
    assert stdout.getvalue() == 'inside\n'


PROGRAM = """
import os, sys, warnings
from utils.base.errors import run_main, output_status
def main():
    for line in range(3):
        print('丹', line, flush=True)
        warnings.warn(f'warning {line}')
        os.write(3, b'.')
    descriptor = os.open(os.devnull, os.O_RDONLY)
    assert descriptor > 3, 'a file got the number of a standard stream'
    if sys.argv[1] == 'raise':
        raise ValueError('a bug')
    sys.exit(output_status(0) if sys.argv[1] == 'counts' else 0)
run_main(main, 'x.py')
"""


def run_with(stdout, stderr, how):
    """Run PROGRAM with descriptors for its streams (None: closed); return its exit status and progress."""
    reading, writing = os.pipe()
    shell = f'exec "$0" -c "$1" "$2" 3>&{writing}' + ' >&-' * (stdout is None) + ' 2>&-' * (stderr is None)
    command = ['bash', '-c', shell, sys.executable, PROGRAM, how]
    done = subprocess.run(
        command, stdout=stdout, stderr=stderr, cwd=PROJECT, check=False, pass_fds=[writing], timeout=300
    )
    os.close(writing)
    with open(reading, 'rb') as file:
        return done.returncode, file.read()


@pytest.mark.parametrize(('how', 'status'), [('go on', 0), ('counts', 141), ('raise', 1)])
def test_the_exit_status_of_a_program_whose_pipe_is_broken_is_right(how, status):
    """Python exits with 120 if it cannot flush stdout at exit."""
    reading, writing = os.pipe()
    os.close(reading)
    assert run_with(writing, writing, how) == (status, b'...')
    os.close(writing)


def test_the_exit_status_of_a_program_whose_streams_are_closed_is_right():
    assert run_with(None, None, 'go on') == (0, b'...')


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='has no /dev/full')
@pytest.mark.parametrize(('how', 'status'), [('go on', 0), ('counts', 2)])
def test_the_exit_status_of_a_program_without_space_for_its_output_is_right(how, status):
    with open('/dev/full', 'w', encoding='utf-8') as full:
        assert run_with(full, full, how) == (status, b'...')
