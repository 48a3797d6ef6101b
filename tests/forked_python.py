"""A `python` for shell commands, whose programs are forked from a process that has torch (tests/program_server.py)."""

import array
import contextlib
import json
import os
import socket
import sys
import threading

from tests.program_server import Program

# Sends its arguments, directory, environment and streams to the tests, and ends as the program does.
CLIENT = """#!{python} -IS
import array, json, os, socket, sys
with socket.socket(socket.AF_UNIX) as tests:
    tests.connect({address!r})
    streams = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [1, 2]))
    tests.sendmsg([b' '], [streams])
    tests.sendall(json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode())
    tests.shutdown(socket.SHUT_WR)
    sys.exit(int(tests.makefile().read()))
"""


@contextlib.contextmanager
def forked_python(folder):
    """Make `python` in a directory (Path of at most 80 characters) run programs while the context is open.

    A command must be `python SCRIPT [ARGUMENT ...]` or `python -m MODULE [ARGUMENT ...]`.
    """
    address = str(folder / 'socket')
    (folder / 'python').write_text(CLIENT.format(python=sys.executable, address=address), encoding='utf-8')
    (folder / 'python').chmod(0o755)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen()
        threading.Thread(target=_serve, args=(server,), daemon=True).start()
        try:
            yield
        finally:
            server.shutdown(socket.SHUT_RDWR)


def _serve(server):
    with contextlib.suppress(OSError):  # the context has ended
        while True:
            threading.Thread(target=_answer, args=(server.accept()[0],), daemon=True).start()


def _answer(client):
    """Run the program of a client and send its exit status."""
    with client:
        streams = array.array('i')
        _, [(_, _, sent)], _, _ = client.recvmsg(1, socket.CMSG_SPACE(2 * streams.itemsize))
        streams.frombytes(sent)
        words, directory, environment = json.loads(client.makefile().read())
        out, err = streams
        program = Program(words[0], words[1:], env=environment, cwd=directory, stdout=out, stderr=err)
        for stream in streams:
            os.close(stream)
        client.sendall(str(program.wait()).encode())
