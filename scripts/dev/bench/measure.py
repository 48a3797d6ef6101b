"""One measurement in a process of its own, so that none finds what another has loaded or left in memory."""

import json
import subprocess
import sys

from scripts.dev.bench.race import PROJECT, project_environment


def measure(worker, what, numbers, scratch):
    """Run `python -m scripts.dev.bench.<worker> <what> <numbers as JSON> <scratch> <result file>` and return its
    result.

    Raises:
        RuntimeError: it failed; with the last of what it printed.
    """
    result = scratch / f'{what}.json'
    words = [sys.executable, '-m', f'scripts.dev.bench.{worker}', what, json.dumps(numbers), str(scratch), str(result)]
    done = subprocess.run(words, cwd=PROJECT, env=project_environment(), capture_output=True, text=True, check=False,
                          start_new_session=True)  # fmt: skip
    if done.returncode:
        raise RuntimeError(f'{what} {numbers} failed:\n{done.stderr[-3000:]}')
    return json.loads(result.read_text())
