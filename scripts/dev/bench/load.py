"""How much processor time others take while a contestant is measured; Linux alone tells."""

import os
from pathlib import Path

TICKS = os.sysconf('SC_CLK_TCK') if hasattr(os, 'sysconf') else 100


def busy_seconds(session):
    """Return the processor time (float) that all processes outside of a session have taken since the machine started.

    Args:
        session: id of the session that does not count; a contestant and its workers are one.
    """
    try:
        words = Path('/proc/stat').read_text(encoding='utf-8').splitlines()[0].split()[1:]
        entries = [entry for entry in os.scandir('/proc') if entry.name.isdigit()]
    except OSError:
        return 0.0
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, words[:8])
    return (user + nice + system + irq + softirq + steal) / TICKS - sum(_own(entry.path, session) for entry in entries)


def own_seconds(session):
    """Return the processor time (float) that the processes of a session have taken; on Linux alone, else 0.0."""
    try:
        return sum(_own(entry.path, session) for entry in os.scandir('/proc') if entry.name.isdigit())
    except OSError:
        return 0.0


def _own(path, session):
    """Return the processor time of the process at `path` if it belongs to the session, else 0."""
    try:
        fields = Path(path, 'stat').read_text(encoding='utf-8').rpartition(')')[2].split()
    except OSError:  # it has ended meanwhile
        return 0.0
    # Fields of proc(5) from the third on: session is the 6th; utime, stime, and those of ended children, 14th to 17th.
    return sum(map(int, fields[11:15])) / TICKS if int(fields[3]) == session else 0.0
