"""Runs that were stopped, for the tests of resuming."""

import signal

import pytest


@pytest.fixture(scope='module')
def stopped(faults, whole_runs, tmp_path_factory):
    """Return a function: name of a case -> the words to go on with a run of it that was stopped in its second epoch."""
    folder = tmp_path_factory.mktemp('stopped')

    def stop(name, step):
        place = folder / f'{name}_{step}'
        if not place.exists():
            words = [*whole_runs(name).words, '--checkpoints_dir', place, '--num_workers', 0]
            run = faults.Run(words, folder / 'samples', faults.Fault(signal.SIGTERM, step))
            assert run.wait() == 143, run.said
        [directory] = place.iterdir()
        return directory

    return stop
