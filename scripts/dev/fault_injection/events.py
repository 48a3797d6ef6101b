"""Compare the TensorBoard events of two runs."""

from itertools import pairwise
from pathlib import Path

from utils.logger import SYSTEM_VALUES

# Their values depend on the time; runs of earlier versions have them without system/.
CLOCKS = {f'{group}{name}' for name in SYSTEM_VALUES for group in ('system/', '')}
RESUMED = 'resumed/text_summary'  # text that only a run has that was resumed
# Options that may be others when a run is resumed, and directories: the HPARAMS tab has those of the first process.
FREE_OPTIONS = ('num_workers', 'save_steps', 'save_minutes', 'checkpoints_dir', 'epochs')
EVENT_DIRECTORIES = ('', 'steps')  # directories of a run that hold event files


def event_differences(run, whole):
    """Return what TensorBoard shows differently (list of str) of a run's directory and of another one's, or too often.

    Steps and values of every tag are compared: scalars, pictures, histograms, texts, graph, hyperparameters, charts.
    Times of day are not, nor values that depend on the time. In `run` the steps of each tag have to increase.
    """
    found = []
    for below in EVENT_DIRECTORIES:
        here, there = shown_in(Path(run, below)), shown_in(Path(whole, below))
        for key in sorted(here.keys() | there.keys()):
            name = f'TensorBoard: {" ".join(filter(None, (below, *key)))}'
            steps = [step for step, _ in here.get(key, [])]
            if any(later < step for step, later in pairwise(steps)):
                found.append(f'{name}: steps out of order: {steps}')
            if key[1] != RESUMED and (why := _difference(here.get(key, []), there.get(key, []))):
                found.append(f'{name}: {why}')
    return found


def shown_in(directory):
    """Return what TensorBoard shows of one directory: dict from (kind, tag) to (step, value) pairs, without clocks."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    if not Path(directory).is_dir():
        return {}
    kinds = ('scalars', 'images', 'histograms', 'tensors', 'compressedHistograms', 'audio')
    reader = EventAccumulator(str(directory), size_guidance=dict.fromkeys(kinds, 0))
    reader.Reload()
    tags, found = reader.Tags(), {}
    for kind, read in (
        ('scalars', lambda tag: [(e.step, None if tag in CLOCKS else repr(e.value)) for e in reader.Scalars(tag)]),
        ('images', lambda tag: [(e.step, e.encoded_image_string) for e in reader.Images(tag)]),
        ('histograms', lambda tag: [(e.step, repr(e.histogram_value)) for e in reader.Histograms(tag)]),
        ('tensors', lambda tag: [(e.step, e.tensor_proto.SerializeToString()) for e in reader.Tensors(tag)]),
    ):
        found |= {(kind, tag): read(tag) for tag in tags[kind]}
    if tags['graph']:
        found['graph', ''] = [(0, reader.Graph().SerializeToString(deterministic=True))]
    return found | _hyperparameters(reader)


def _hyperparameters(reader):
    """Return the entries of the HPARAMS tab, as `shown_in` does: step 0, and the options or the names of values."""
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    found = {}
    for tag, content in reader.PluginTagToContent('hparams').items() if 'hparams' in _plugins(reader) else ():
        data = HParamsPluginData.FromString(content)
        options = {name: repr(value) for name, value in data.session_start_info.hparams.items()}
        names = [info.name for info in data.experiment.hparam_infos]
        names += [info.name.tag for info in data.experiment.metric_infos]
        shown = {name: value for name, value in options.items() if name not in FREE_OPTIONS}
        found['hparams', tag] = [(0, repr((sorted(shown.items()), sorted(names))))]
    return found


def _plugins(reader):
    return {reader.SummaryMetadata(tag).plugin_data.plugin_name for tag in reader.summary_metadata}


def _difference(here, there):
    """Return in what two lists of (step, value) differ (str), or None: in nothing."""
    steps = [[step for step, _ in events] for events in (here, there)]
    if steps[0] != steps[1]:
        return f'steps {steps[0]} instead of {steps[1]}'
    wrong = [step for (step, value), (_, other) in zip(here, there, strict=True) if value != other]
    return f'other values at the steps {wrong}' if wrong else None
