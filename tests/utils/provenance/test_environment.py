"""The environment variables that results may depend on."""

from utils.provenance.environment import changed_variables, variables_read_by

CODE = b"""
import os
from os import environ, getenv
NAME = 'PLACE'
cap = float(os.environ.get('LOGIT_CAP', 100))
other = getenv("DATA_DIRECTORY"), environ[NAME], 'FLAG' in environ
secret = os.environ['DB_TOKEN'], os.environ['S3_KEY'], os.environ['TERM']
"""


def test_variables_that_the_code_reads_are_recorded_but_not_secrets(monkeypatch):
    for name, value in {
        'LOGIT_CAP': '3',
        'DATA_DIRECTORY': '/home/me/data',
        'DB_TOKEN': 'x',
        'OMP_NUM_THREADS': '1',
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv('FLAG', raising=False)
    monkeypatch.delenv('PLACE', raising=False)
    found = variables_read_by({'model/x.py': CODE, 'tests/x.py': b"os.environ['OTHER']", 'x.json': b'environ'})
    assert found.pop('DATA_DIRECTORY').startswith('sha256 '), 'a path is not written down'
    wanted = {'FLAG': None, 'LOGIT_CAP': '3', 'PLACE': None, 'OMP_NUM_THREADS': '1'}
    assert {name: found[name] for name in wanted} == wanted
    assert not {'DB_TOKEN', 'S3_KEY', 'TERM', 'OTHER'} & set(found)


def test_changed_variables_are_told_with_both_values(monkeypatch):
    monkeypatch.delenv('GONE', raising=False)
    then = {'LOGIT_CAP': None, 'GONE': '1', 'SAME': '2'}
    now = {'LOGIT_CAP': '3', 'SAME': '2', 'NEW': '1', 'MKL_CBWR': 'AVX'}
    assert changed_variables(then, now) == [
        'LOGIT_CAP: not set -> 3',
        'GONE: 1 -> not set',
        'MKL_CBWR: not set -> AVX',
    ], 'a variable that only the code of today reads has no earlier value'
