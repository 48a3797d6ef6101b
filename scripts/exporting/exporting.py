"""Exports one checkpoint and verifies the file; scripts/export.py prints what is found."""

import copy
import os
import tempfile
from pathlib import Path

import torch

from data.data_entry import select_eval_loader
from model.load_network import load_network
from options import parse_test_args
from scripts.exporting import verification
from scripts.exporting.deployed import Deployed, halve
from scripts.exporting.formats import FORMATS, WEIGHTS_ONLY, write_file
from scripts.exporting.metadata import describe_input, describe_output, metadata_of
from utils.base.errors import DanluError
from utils.base.record_schema import recorded_args
from utils.base.text_table import number_text, size_text, table
from utils.options.arguments import from_keywords
from utils.runs.checkpoint import load_checkpoint
from utils.runs.weights_file import load_weights_file, metadata_of_checkpoint, write_weights_file
from utils.tasks.target_scale import complete_target_scale
from utils.training.batch_transform import BatchTransform

CPU = torch.device('cpu')
EXAMPLE_SAMPLES = 2  # torch.export takes a batch of one for a fixed size


class Export:
    """The export of one checkpoint.

    Args:
        given: options of scripts/export.py (Namespace).
        path: of the checkpoint (str).

    Raises:
        DanluError: the checkpoint or the data cannot be read, or the options do not fit the data.
    """

    def __init__(self, given, path):
        self.given = given
        self.checkpoint = load_checkpoint(path, given.trust_checkpoint, given.model_source)
        same = {name: getattr(given, name) for name in ('val_list', 'data_root', 'model_source', 'checkpoints_dir')}
        words = {'load_model_path': path, 'device': 'cpu', 'num_workers': 0, **same}
        words |= {'trust_checkpoint': True} if given.trust_checkpoint else {}
        trained = recorded_args(self.checkpoint)
        try:
            self.args = from_keywords(lambda argv: parse_test_args(argv, trained), words)
        except DanluError as error:
            raise DanluError(str(error).replace('(see eval.py --help)', '(see export.py --help)')) from None
        self.loader = select_eval_loader(self.args)
        complete_target_scale(self.args)
        self.net, _, check = load_network(self.args, self.checkpoint, CPU, 'test')
        self.net.eval().requires_grad_(False)
        self.notes = list(check.failure_lines)
        self.samples = verification.first_samples(self.loader, given.samples)
        self.kind = self.kind_of_inputs()
        self.file = Path(given.out or Path(path).with_suffix(f'.{given.format}'))

    def kind_of_inputs(self):
        """Return the key of scripts.exporting.metadata.KINDS for the samples of the data set."""
        if self.args.data_type == 'array' and self.args.mean is not None:
            kind = 'features'
        else:
            kind = 'pixels' if self.samples.dtype == torch.uint8 and self.samples.dim() == 4 else 'inputs'
        if self.given.with_preprocessing and kind != 'pixels':
            raise DanluError(f'--with_preprocessing: the samples of {self.args.data_type} are not images; leave it out')
        return 'photos' if self.given.with_preprocessing else kind

    def run(self):
        """Write the file and return lines (list of str) on it.

        Raises:
            DanluError: the network cannot be exported, or the file computes something else; no file is left.
        """
        expected = self.reference(self.samples)
        self.count = expected.shape[1] if expected.dim() > 1 else 1
        metadata = metadata_of(self.args, self.checkpoint, self.kind, self.given.batch, self.count)
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DanluError(f'--out: {self.file.parent} cannot be created: {error.strerror}') from None
        verified = self.verified_weights if self.given.format == WEIGHTS_ONLY else self.verified_program
        with tempfile.TemporaryDirectory(dir=self.file.parent, prefix='.export_') as folder:
            partial = Path(folder, self.file.name)
            lines = verified(partial, metadata, expected)
            os.replace(partial, self.file)
        epoch = self.checkpoint.get('epoch', 'not known')
        return [
            *self.notes,
            f'checkpoint: {self.args.load_model_path} (epoch {epoch})',
            *lines,
            f'exported: {self.file}',
        ]

    def reference(self, samples, net=None):
        """Return the outputs, float32, of the checkpoint's network or of `net` for samples as the loader gives them."""
        transform = BatchTransform(self.args, CPU)
        with torch.inference_mode():
            outputs = (self.net if net is None else net)(transform(samples, torch.zeros(len(samples)))[0])
        if not torch.is_tensor(outputs):
            kind = type(outputs).__name__
            raise DanluError(f'the network returns a {kind}: only networks that return a tensor can be exported')
        return outputs.float().clone()

    def network(self):
        """Return the network to export (nn.Module): the checkpoint's, or a copy in float16."""
        return halve(copy.deepcopy(self.net)) if self.given.half else self.net

    def verified_weights(self, path, metadata, expected):
        """Write the weights, load them into a copy of the network, and return lines (list of str)."""
        write_weights_file(path, self.network().state_dict(), metadata | metadata_of_checkpoint(self.checkpoint))
        weights, loaded = load_weights_file(path), copy.deepcopy(self.net)
        for value in loaded.state_dict().values():
            value.zero_()
        loaded.load_state_dict(weights)
        found = verification.difference(self.reference(self.samples, loaded), expected)
        return [self.checked(found), *self.table(path, {}, {})]

    def verified_program(self, path, metadata, expected):
        """Write the file, run it on the samples, and return lines (list of str)."""
        given = self.given
        module = Deployed(self.network(), self.args, self.kind, given.half).eval()
        example = self.example(self.inputs(self.samples))
        write_file(given.format, path, module, example, metadata, given.batch is None)
        run = FORMATS[given.format].load(path)
        network = verification.ExportedNetwork(run, self.kind, given.batch)
        lines = [
            f'input: {describe_input(self.args, self.kind, given.batch)}',
            f'output: {describe_output(self.args, given.batch, self.count)}',
            self.checked(verification.difference(network(self.fed(self.samples)), expected)),
        ]
        if self.kind == 'photos':
            lines += self.compare_photos(run, module)
        timed = given.batch or 1
        times = [
            verification.latency(self.reference, self.samples[:1].expand(timed, *self.samples.shape[1:]).contiguous()),
            verification.latency(run, example[:timed].contiguous()),
        ]
        row = {f'latency, {timed} sample{"s" * (timed > 1)}, CPU': [f'{time:.3g} ms' for time in times]}
        return [*lines, *self.table(path, row, self.test(network) if given.check_test else {})]

    def fed(self, samples):
        """Return samples as the ExportedNetwork takes them: as the loader gives them, features in their units."""
        if self.kind != 'features':
            return samples
        transform = BatchTransform(self.args, CPU)
        return verification.raw_features(samples, transform.mean, transform.std)

    def inputs(self, samples):
        """Return samples as the file takes them."""
        samples = self.fed(samples)
        return samples.movedim(1, -1).contiguous() if self.kind == 'photos' else samples

    def example(self, inputs):
        """Return the inputs to export with; if there are too few samples, some are repeated."""
        count = self.given.batch or EXAMPLE_SAMPLES
        return torch.cat([inputs] * -(-count // len(inputs)))[:count].clone()

    def checked(self, found):
        """Return a line (str) on a verification.Difference.

        Raises:
            DanluError: it exceeds the tolerance.
        """
        text = (
            f'largest difference {number_text(found.largest)} (outputs up to {number_text(found.scale)}) on '
            f'{found.samples} samples of {self.args.val_list or self.args.data_type}'
        )
        if not found.relative <= self.given.tolerance:
            hint = '; leave out --half, or give a larger --tolerance' if self.given.half else ''
            raise DanluError(
                f'the file does not compute the same: {text}, over --tolerance {self.given.tolerance:g}{hint}'
            )
        return f'verified: {text}'

    def compare_photos(self, run, module):
        """Return lines (list of str) on images at their original size, resized within the file."""
        photos = verification.photos_of(self.loader, self.samples, self.args.channels)
        with torch.inference_mode():
            batches = [photo.expand(self.given.batch or 1, *photo.shape[1:]).contiguous() for photo in photos]
            outputs, eager = [run(batch)[:1] for batch in batches], [module(batch)[:1] for batch in batches]
        within = self.checked(verification.difference(outputs, eager))
        found = verification.difference(outputs, list(self.reference(self.samples)[:, None]))
        return [
            f'{within}, at their original size',
            f'resized by the loaders instead: largest difference {number_text(found.largest)} (rounding to 8 bits; '
            'large JPEG files differ more, as the loaders decode them at a smaller size)',
        ]

    def test(self, network):
        """Return the metrics of the checkpoint and of the file: dict from a name to a list of two float."""
        values = verification.evaluate(self.args, self.loader, self.net)
        loader = select_eval_loader(self.args)
        of_file = verification.evaluate(self.args, loader, network, self.kind)
        return {name: [value, of_file[name]] for name, value in values.items() if '/' not in name}

    def table(self, path, rows, metrics):
        """Return the table (list of lines) of the checkpoint beside the file.

        Args:
            path: of the file.
            rows: dict from a name to two str; metrics: dict from a name to two float.
        """
        sizes = [size_text(os.path.getsize(each)) for each in (self.args.load_model_path, path)]
        texts = [['size', *sizes], *([name, *values] for name, values in rows.items())]
        texts += [[f'test {name}', *map(number_text, values)] for name, values in metrics.items()]
        return table(['', 'checkpoint', self.given.format], texts, right=('checkpoint', self.given.format))[0]
