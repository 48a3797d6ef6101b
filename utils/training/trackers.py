"""--track: hooks that send a run to MLflow, Weights & Biases, SwanLab or Trackio. Nothing is sent without the option.

A Tracker sends the options at the start, the values of each epoch, and at the end the best value, the values of the
test and report.html. Its state in last.pth names the entry, so that a resumed run goes on in the same entry. An error
of a tracker before the first step ends the run; later the tracker stops, the log says why, and the run continues.
"""

import contextlib
import importlib
import os
import socket
import time
import uuid
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from options import main_options
from utils.base.errors import DanluError, first_line
from utils.base.regular_files import read_regular_text
from utils.distributed import processes
from utils.options.arguments import keyword_values
from utils.runs.results import result_test
from utils.runs.run import as_number
from utils.training.hooks import Hook

PROJECT_NAME = 'danlu'
ONLINE = 'online'  # mode of wandb and swanlab
FAILED, KILLED, FINISHED = 'FAILED', 'KILLED', 'FINISHED'
MAX_PARAMETER_CHARS = 500  # of an option in MLflow
MAX_PARAMETERS = 100  # in one request to MLflow
ENTRY_CHARS = 21  # as SwanLab's own ids
INIT_TIMEOUT = 'WANDB_INIT_TIMEOUT'  # environment variable, seconds
INIT_TIMEOUT_SECONDS = 15  # instead of the 90 of wandb: if the server does not answer, the run is to end soon
CONNECT_SECONDS = 5  # wandb needs 35 seconds and swanlab 20 to report that there is no network
PORTS = {'http': 80, 'https': 443}


class Tracker(Hook):
    """Base class of trackers; a subclass defines start, log, log_page and end.

    Args:
        args: options of the run.

    Attributes:
        arguments: values of --track_args (dict).
        entry: id of the run's entry in the tracker (str), or None before the start.
        hint: what to do if the entry cannot be opened (str), or ''.
    """

    hint = ''

    def __init__(self, args):
        self.args, self.arguments = args, keyword_values(args.track_args or ())
        self.project = str(self.arguments.pop('project', PROJECT_NAME))
        self.name = str(self.arguments.pop('name', Path(args.model_dir).name))
        self.entry, self.is_on = None, True

    def state_dict(self):
        """Return the id of the entry and the name of the run's directory."""
        return {'entry': self.entry, 'run': Path(self.args.model_dir).name} if self.entry else {}

    def load_state_dict(self, state):
        """Go on in the entry of a resumed run; a copy of the run (--as) begins an entry of its own."""
        if state['run'] == Path(self.args.model_dir).name:
            self.entry = state['entry']

    def before_train(self, trainer):
        """Open the entry.

        Raises:
            DanluError: the tracker cannot be reached, or refuses --track_args.
        """
        try:
            self.start({name: plain(value) for name, value in main_options(self.args).items()})
        except Exception as error:  # any: the trackers have exceptions of their own
            self.is_on = False
            with contextlib.suppress(Exception):  # the first error is reported
                self.end_unstarted()
            raise DanluError(f'--track {self.args.track}: {first_line(error)}{self.hint}') from error

    def after_epoch(self, trainer, row):
        """Send the values of the epoch."""
        self.attempt(trainer, self.log, {name: row[name] for name in row if name != 'epoch'}, row['epoch'])

    def after_train(self, trainer):
        """Send the best value and its epoch."""
        best, monitor = trainer.selection.best, trainer.selection.monitor
        if best:
            values = {f'best/{monitor.replace("/", "_")}': best['value'], 'best/epoch': best['epoch']}
            self.attempt(trainer, self.log, values, trainer.epoch)

    def after_error(self, trainer, error):
        """End the entry as killed or failed."""
        self.attempt(trainer, self.end, KILLED if isinstance(error, KeyboardInterrupt | SystemExit) else FAILED)

    def finish(self, trainer, report):
        """Send the values of the test and the page, and end the entry.

        Args:
            report: path (Path) of report.html, or None without a test.
        """
        if report is not None:
            page = Path(report).resolve()
            values = result_test(page.with_name('result.txt'), None)['values']
            numbers = {f'test/{name}': as_number(text) for name, text in values.items() if '/' not in name}
            self.attempt(trainer, self.log, numbers, trainer.epoch)
            self.attempt(trainer, self.log_page, page)
        self.attempt(trainer, self.end, FINISHED)

    def attempt(self, trainer, send, *values):
        """Call send(*values) unless the tracker has stopped; on an error, stop the tracker and log why."""
        if self.is_on:
            try:
                send(*values)
            except Exception as error:  # any: the run is worth more than its copy in a tracker
                self.is_on = False
                print_line(trainer, f'{self.args.track} stops: {first_line(error)}; the run continues')

    def start(self, options):
        """Open the entry, or the one of a resumed run, and send the options (dict of plain values)."""
        raise NotImplementedError

    def end_unstarted(self):
        """End an entry that `start` opened before it failed; the default opens it in its last step."""

    def log(self, values, step):
        """Send numbers (dict) of a step, which is an epoch."""
        raise NotImplementedError

    def log_page(self, path):
        """Send report.html (Path)."""
        raise NotImplementedError

    def end(self, status):
        """Close the entry; status: FINISHED, FAILED or KILLED."""
        raise NotImplementedError


class MlflowTracker(Tracker):
    """Sends a run to MLflow: to --track_args tracking_uri=..., to MLFLOW_TRACKING_URI, or to mlflow.db beside the runs.

    https://mlflow.org/docs/latest/api_reference/python_api/mlflow.client.html
    """

    def start(self, options):
        """Open the entry and send the options as parameters."""
        from mlflow import MlflowClient
        from mlflow.entities import Param

        root = Path(self.args.checkpoints_dir).resolve()
        uri = self.arguments.get('tracking_uri') or os.environ.get('MLFLOW_TRACKING_URI')
        self.client = MlflowClient(uri or f'sqlite:///{root / "mlflow.db"}')
        if self.entry is None:
            found = self.client.get_experiment_by_name(self.project)
            place = None if uri else (root / '.mlflow').as_uri()  # hidden: it is no run
            experiment = found.experiment_id if found else self.client.create_experiment(self.project, place)
            self.entry = self.client.create_run(experiment, run_name=self.name).info.run_id
            shown = [Param(name, str(value)[:MAX_PARAMETER_CHARS]) for name, value in options.items()]
            for first in range(0, len(shown), MAX_PARAMETERS):
                self.client.log_batch(self.entry, params=shown[first : first + MAX_PARAMETERS])
        else:
            self.client.set_terminated(self.entry, 'RUNNING')

    def log(self, values, step):
        """Send numbers in one request."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self.client.log_batch(self.entry, [Metric(name, float(value), now, step) for name, value in values.items()])

    def end_unstarted(self):
        """End the entry as failed: MLflow shows it as running otherwise."""
        if self.entry is not None:
            self.end(FAILED)

    def log_page(self, path):
        """Send the page as an artifact."""
        self.client.log_artifact(self.entry, str(path))

    def end(self, status):
        """Set the status of the entry."""
        self.client.set_terminated(self.entry, status)


class WandbTracker(Tracker):
    """Sends a run to Weights & Biases: https://docs.wandb.ai/ref/python/. --track_args mode=offline keeps it here."""

    package, hint = 'wandb', '; --track_args mode=offline keeps the run on this machine'

    def start(self, options):
        """Open the entry with the options as its config."""
        self.module = importlib.import_module(self.package)
        check_server(self.server())
        self.is_resumed = self.entry is not None
        self.entry = self.entry or uuid.uuid4().hex[:ENTRY_CHARS]
        self.run = self.module.init(
            **{'project': self.project, 'name': self.name, 'config': options, **self.place(), **self.arguments}
        )

    def server(self):
        """Return the address (str) of the server that gets the run, or None if the run stays on this machine."""
        settings = self.module.setup().settings
        return settings.base_url if self.arguments.get('mode', settings.mode) == ONLINE else None

    def place(self):
        """Return the arguments of init (dict) for the entry and its local files."""
        settings = {} if INIT_TIMEOUT in os.environ else {'init_timeout': INIT_TIMEOUT_SECONDS}
        return {'id': self.entry, 'resume': 'allow', 'dir': str(self.args.model_dir), 'settings': settings}

    def log(self, values, step):
        """Send numbers."""
        self.run.log(values, step=step)

    def log_page(self, path):
        """Send the page."""
        self.run.log({'report': self.module.Html(read_regular_text(path), inject=False)})

    def end(self, status):
        """Close the entry."""
        self.run.finish(exit_code=int(status != FINISHED))


class SwanlabTracker(WandbTracker):
    """Sends a run to SwanLab: https://docs.swanlab.cn/en/api/. --track_args mode=offline keeps it here."""

    package = 'swanlab'

    def server(self):
        """Return the address (str) of the server that gets the run, or None if the run stays on this machine."""
        settings = self.module.Settings()  # in earlier versions without an address
        mode = self.arguments.get('mode', getattr(settings, 'mode', None))
        return getattr(settings, 'api_host', None) if mode == ONLINE else None

    def place(self):
        """Return the arguments of init (dict) for the entry and its local files."""
        return {'id': self.entry, 'resume': 'allow', 'log_dir': str(Path(self.args.model_dir, 'swanlab'))}

    def log_page(self, path):
        """Send the page."""
        self.run.log({'report': self.module.Html(read_regular_text(path))})

    def end(self, status):
        """Close the entry."""
        self.run.finish(**({'state': 'success'} if status == FINISHED else {'state': 'crashed', 'error': status}))


class TrackioTracker(SwanlabTracker):
    """Sends a run to Trackio, which keeps it on this machine: https://huggingface.co/docs/trackio."""

    package, hint = 'trackio', ''

    def server(self):
        """Return None: the run stays on this machine."""

    def place(self):
        """Return the arguments of init (dict); a resumed run is found by its name, as an entry has no id."""
        return {'resume': 'allow' if self.is_resumed else 'never', 'embed': False}

    def end(self, status):
        """Close the entry."""
        self.module.finish()  # run.finish() would be called again at the exit


TRACKERS = {'mlflow': MlflowTracker, 'wandb': WandbTracker, 'swanlab': SwanlabTracker, 'trackio': TrackioTracker}


def trackers_of(args):
    """Return the trackers (list) of --track on the first process."""
    return [TRACKERS[args.track](args)] if args.track and processes.is_first() else []


def finish_trackers(trainer, report):
    """Send the values of the test and the page, and end the entries of a run; report: path (Path) or None."""
    for hook in trainer.hooks:
        if isinstance(hook, Tracker):
            hook.finish(trainer, report)


def check_server(url):
    """Check within seconds that a server (address, str, or None) can be reached; not if there is a proxy.

    Raises:
        ConnectionError: there is no connection.
    """
    if url is None or getproxies():
        return
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname, parts.port or PORTS[parts.scheme]), CONNECT_SECONDS).close()
    except OSError as error:
        raise ConnectionError(f'{url} cannot be reached ({error.strerror or error})') from error


def plain(value):
    """Return the value of an option as a number, str or bool; a list as one str."""
    if isinstance(value, list | tuple):
        return ' '.join(map(str, value))
    return value if isinstance(value, bool | int | float | str) else str(value)


def print_line(trainer, line):
    """Print a line, also after the run's log is closed."""
    if trainer.is_closed:
        print(line)
    else:
        trainer.logger.print(line)
