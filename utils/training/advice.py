"""One line of advice on making training faster, from the breakdown of a step's time. Imports no torch."""

from types import SimpleNamespace
from typing import NamedTuple

from utils.base.text_table import count_text

STEP_PARTS = 'data copy forward loss backward optimizer metrics logging rest'.split()  # of a step, in their order


class RunFacts(NamedTuple):
    """What the advice depends on besides the times."""

    device: str  # 'cpu' or 'cuda'
    data_type: str | None  # None: the loader was handed in ready-made, so --data_type and --num_workers are not used
    in_memory: bool  # the pictures are decoded already
    fits_memory: bool  # decoded pictures of all lists would take no more than a quarter of the memory
    workers: int  # processes that decode pictures
    cores: int  # that this process and its workers may use
    threads: int  # of one operation of this process
    batch_size: int
    augment: str  # key of AUGMENTS
    fast: bool  # --fast has been tried, or what it tries has been chosen
    gpu_wait: float = 0.0  # milliseconds per step that Python waited for the GPU in forward, loss and backward


# The first rule that applies gives the advice. Parts and `gpu_wait` are percentages of the step; `compute` is the sum
# of forward, loss and backward; `fixed` is the cost of a step that does not depend on the batch size.
RULES = (
    (lambda s: s.data > 20 and s.data_type is None,
     'waiting for data takes {data:.0f} %: give the loader that you made more workers'),
    (lambda s: s.data > 20 and s.in_memory and s.workers > 0,
     'waiting for data takes {data:.0f} %: --num_workers 0, as the data is in memory and workers only copy it'),
    (lambda s: s.data > 20 and s.in_memory,
     'gathering batches in memory takes {data:.0f} %: a larger --batch_size than {batch_size}'),
    (lambda s: s.data > 20 and s.data_type == 'list' and s.fits_memory and s.workers < s.cores,
     'waiting for data takes {data:.0f} %: more --num_workers than {workers} on {core_count}, or '
     '--data_type mem_list, which decodes once: the images fit in memory'),
    (lambda s: s.data > 20 and s.data_type == 'list' and s.fits_memory,
     'waiting for data takes {data:.0f} % with {worker_count} on {core_count}: --data_type mem_list, which decodes '
     'once: the images fit in memory'),
    (lambda s: s.data > 20 and s.workers < s.cores,
     'waiting for data takes {data:.0f} %: more --num_workers than {workers} on {core_count}'),
    (lambda s: s.data > 20,
     'waiting for data takes {data:.0f} % with {worker_count} on {core_count}: store the images as small as '
     '--image_size needs them, so that decoding costs less'),
    (lambda s: s.logging > 10, 'logging takes {logging:.0f} %: a larger --print_freq'),
    (lambda s: s.copy > 25 and s.augment != 'none',
     'copy and augment take {copy:.0f} %: a lighter --augment than {augment}'),
    (lambda s: s.fixed > 12,
     'what each step costs whatever its size takes {fixed:.0f} %: a larger --batch_size than {batch_size}'),
    (lambda s: s.device == 'cuda' and s.gpu_wait < 20,
     'the GPU is done before Python has given it more to do: a larger --batch_size than {batch_size}'),
    (lambda s: s.device == 'cpu' and s.workers > 0 and s.data < 2 and s.threads < s.cores,
     'forward, loss and backward take {compute:.0f} % on {threads} of {core_count}: --num_workers 0 leaves them all'),
    (lambda s: s.compute > 50 and not s.fast,
     'forward, loss and backward take {compute:.0f} %: --fast tries what makes them faster here'),
    (lambda s: True, 'forward, loss and backward take {compute:.0f} %: nothing to gain but a smaller network'),
)  # fmt: skip


def advise(parts, facts):
    """Return the advice (str, one line) for a breakdown.

    Args:
        parts: milliseconds per step of each part: dict with the keys STEP_PARTS.
        facts: RunFacts.
    """
    whole = sum(parts.values()) or 1.0
    share = {name: 100 * time / whole for name, time in {**parts, 'gpu_wait': facts.gpu_wait}.items()}
    share['compute'] = share['forward'] + share['loss'] + share['backward']
    share['fixed'] = share['optimizer'] + share['logging'] + share['rest']
    seen = SimpleNamespace(**{**facts._asdict(), **share})
    seen.worker_count, seen.core_count = count_text(facts.workers, 'worker'), count_text(facts.cores, 'core')
    return next(text.format_map(vars(seen)) for holds, text in RULES if holds(seen))
