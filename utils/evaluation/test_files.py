"""What a test writes and prints besides its predictions: result.txt, the page, the confusion matrix, the ledger."""

import csv
import datetime
import json
import os
import shlex
from contextlib import contextmanager
from pathlib import Path

import torch

from options import get_test_result_dir, tested_options, trained_options
from utils.base.csv_text import escape_cell
from utils.base.errors import first_line
from utils.base.language import deferred, labelled, translate, use_language
from utils.base.regular_files import naming, open_regular, write_regular_text
from utils.base.streams import guarded_output
from utils.base.text_table import terminal_width
from utils.base.write_errors import WriteError, explain_write_errors
from utils.evaluation.predictions import PREDICTIONS
from utils.options.predict_options import predicts
from utils.provenance.environment import iso_timestamp
from utils.provenance.kept_code import keep_code
from utils.provenance.project_source import code_hash, files_hash, kept_files, read_files
from utils.provenance.recorded_code import code_provenance, original_command, output_language
from utils.runs.ledger import ledger_of, replace_nonfinite, run_of
from utils.runs.result_directory import LEDGER_LINE, REPORT, atomic_results
from utils.runs.results import DIFFERS
from utils.runs.results_table import result_lines
from utils.training.error_hints import explain_machine_errors


@contextmanager
def result_files(args):
    """Yield the directory (str) of a test or of predictions, whose files are written in the body of the `with`.

    There args.result_dir is a directory in that one, see utils.runs.result_directory.atomic_results. What the machine
    lacks (memory, space ...) is said in one line.
    """
    words = ['--load_model_path', args.load_model_path]
    words += [*args.other_checkpoints, '--ensemble'] if getattr(args, 'ensemble', False) else []
    words += ['--predict', *args.predict] if predicts(args) else []
    again = f'{"predict" if predicts(args) else "test"} again: python eval.py {shlex.join(map(str, words))}'
    explained = explain_write_errors(args.result_dir, again=again), explain_machine_errors(args)
    with guarded_output(), explained[0], explained[1], atomic_results(args, get_test_result_dir) as place:
        yield place


def provenance_of(evaluator, seen):
    """Return what was tested (dict of str), for the head of result.txt.

    Args:
        evaluator: eval.Evaluator.
        seen: number of samples (int).
    """
    args, then = evaluator.args, evaluator.trained_on
    facts = {
        **checkpoint_facts(args, evaluator.epoch, evaluator.checkpoint_sha256),
        'list': evaluator.data_name or args.val_list or f'{args.data_type}, its own test split',
        'list sha256': evaluator.data['sha256'] or 'not known',
        'samples': str(seen),
        **_contents_facts(evaluator.contents),
        'verdict': evaluator.verdict.state,
        'compared with recorded values': evaluator.verdict.text,
        **({'changed since': '; '.join(evaluator.verdict.causes)} if evaluator.verdict.causes else {}),
        **code_facts(args, evaluator.device, evaluator.check.outputs, evaluator.git),
    }
    if then.get('sha256'):
        facts |= {'trained on': then['list'], 'trained on sha256': then['sha256']}
    return facts | ({'shared with training': '; '.join(evaluator.shared)} if evaluator.shared else {})


def checkpoint_facts(args, epoch, sha256):
    """Return which checkpoint was tested (dict of str); epoch: int or str; sha256: hash of the file."""
    return {
        'checkpoint': args.load_model_path,
        'checkpoint sha256': sha256,
        'epoch': str(epoch),
    }


def code_facts(args, device, outputs, git):
    """Return how, when and by which code a checkpoint was tested (dict of str).

    Args:
        args: options.
        device: torch.device.
        outputs: of utils.provenance.checkpoint_check.CheckpointCheck (str).
        git: result of utils.provenance.environment.git_facts.
    """
    files = read_files()
    return {
        'batch size, device, threads': f'{args.batch_size}, {device}, {torch.get_num_threads()}',
        'date': f'{datetime.datetime.now().astimezone():%Y-%m-%d %H:%M:%S %z}',
        **({'test-time augmentation': args.tta} if getattr(args, 'tta', None) else {}),
        'outputs for the probe': outputs,
        **code_provenance(),
        'command': original_command(),
        'directory': os.getcwd(),
        'code sha256': code_hash(files),
        'source sha256': files_hash(kept_files(files)),
        'git commit': (git['commit'] or 'not known') + ', and changes' * bool(git['changed']),
    }


def _contents_facts(contents):
    """Return what result.txt says of the bytes of the samples (dict of str); contents: TestContents."""
    facts = {}
    if contents.record:
        facts['contents sha256'] = contents.record['sha256']
        facts['samples hashed'] = str(contents.record['samples'])
    if contents.is_compared:
        facts['contents since the run'] = '; '.join(contents.differences) or contents.note or 'the same'
    return facts


def write_ledger_line(evaluator, results, provenance, place):
    """Write what the ledger gets of the test (see utils.runs.result_directory.atomic_results), and keep its code.

    Args:
        evaluator: eval.Evaluator.
        results: the values (dict).
        provenance: what was tested (dict of str).
        place: the directory (str) that the test's files are going to be in.
    """
    args, run = evaluator.args, run_of(evaluator.args.load_model_path)
    ledger = ledger_of(args.load_model_path, args.checkpoints_dir)
    for note in keep_code(ledger.parent, provenance['source sha256'], place):
        evaluator.say(note)
    line = {
        'date': iso_timestamp(),
        'values': results,
        'run': run and run.name,
        'checkpoint': args.load_model_path,
        'checkpoint_sha256': provenance['checkpoint sha256'],
        'epoch': evaluator.epoch if isinstance(evaluator.epoch, int) else None,
        'task': args.task,
        'model_type': args.model_type,
        'list': evaluator.list_name,
        'data_sha256': evaluator.data['sha256'],
        'samples': int(provenance['samples']),
        'contents_sha256': provenance.get('contents sha256'),
        'options': tested_options(args, evaluator.trained),
        'device': evaluator.device.type,
        'changed_options': evaluator.judge.conditions.options,
        'verdict': evaluator.verdict.state,
        'verdict_text': evaluator.verdict.text,
        'causes': evaluator.verdict.causes,
        'code': provenance['code sha256'],
        'source': provenance['source sha256'],
        'commit': evaluator.git['commit'],
        'command': provenance['command'],
        'directory': provenance['directory'],
        'result_dir': place,
    }
    write_regular_text(Path(args.result_dir, LEDGER_LINE), json.dumps(replace_nonfinite(line)))


def write_result(path, results, provenance):
    """Write result.txt: `# key: value` lines saying what was tested, then `name: value`, sorted, in full precision."""
    lines = [f'# {key}: {value}' for key, value in provenance.items()]
    lines += [f'{name}: {value!r}' for name, value in sorted(results.items())]
    write_regular_text(path, '\n'.join(lines) + '\n')


def write_page(evaluator, results, provenance):
    """Write report.html and return whether it was written (bool); if not, print why: the results are there anyway.

    Args:
        evaluator, results, provenance: as for `write_ledger_line`; the evaluator has a page.
    """
    args, folder, trained = evaluator.args, Path(evaluator.args.result_dir), evaluator.trained
    options = [
        (deferred('Options of the test that differ from their defaults'), tested_options(args, trained)),
        (deferred('Options of the training that differ from their defaults'), trained_options(trained)),
    ]
    try:
        evaluator.page.write(folder / REPORT, folder / PREDICTIONS, results, provenance, options)
    except (WriteError, OSError):  # the results have no space either
        raise
    except Exception as error:  # of a task of the project's own, whose samples no kind of page knows: all differ
        print(f'{REPORT} is left out: {type(error).__name__}: {first_line(error)}')
        return False
    return True


def print_results(evaluator, results, has_page):
    """Print the verdict, what has changed since the run, the values and the files of a test.

    Args:
        evaluator, results: as for `write_ledger_line`; only values that differ are printed if the evaluator is silent.
        has_page: whether there is a report.html (bool).
    """
    args, say = evaluator.args, evaluator.say
    for line in evaluator.verdict.lines:
        (print if evaluator.verdict.state == DIFFERS else say)(line)
    for text in filter(None, [*evaluator.contents.differences, evaluator.contents.note]):
        say(f'changed since the run: {text}')
    with use_language(output_language(args.lang)):
        for line in result_lines(results, getattr(evaluator.metrics, 'monitor', None), terminal_width()):
            say(line)
        say(labelled(translate('results'), args.result_dir))
        if has_page:
            say(labelled(translate('report'), Path(args.result_dir, REPORT)))


def shows_matrix(metrics):
    """Return whether metrics have a confusion matrix to be shown (bool), having asked them to keep it."""
    if not hasattr(metrics, 'confusion_matrix'):
        return False
    return metrics.keep_table() if hasattr(metrics, 'keep_table') else True


def write_confusion_matrix(args, metrics):
    """Write confusion_matrix.csv: a row per true class, a column per predicted class, counts of samples or pixels.

    Args:
        args: options; class_names, num_classes and result_dir count.
        metrics: of the test, with a confusion_matrix.
    """
    names = args.class_names or [str(k) for k in range(args.num_classes)]
    names = list(map(escape_cell, names))
    encoding = 'utf-8' if all(map(str.isascii, names)) else 'utf-8-sig'  # by which Excel knows that it is UTF-8
    path = Path(args.result_dir) / 'confusion_matrix.csv'
    with naming(path), open_regular(path, 'w', newline='', encoding=encoding) as file:
        writer = csv.writer(file)
        writer.writerow(['truth \\ prediction', *names])
        for name, row in zip(names, metrics.confusion_matrix().tolist(), strict=True):
            writer.writerow([name, *row])
