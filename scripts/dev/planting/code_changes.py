"""Changes of the project's own code, each of which changes values of a test."""

from scripts.dev.planting.change import Change, Edit

LENET, UNET, MLP, BLOCKS = 'model/lenet/lenet.py', 'model/unet/unet.py', 'model/mlp/mlp.py', 'model/submodules.py'
EVAL, ENGINE, LOGGER = 'eval.py', 'utils/training/engine.py', 'utils/logger.py'
LENET_FORWARD = 'return self.classifier(self.features(images))'
FIRST_RELU = 'nn.Conv2d(in_channels, 6, 5, padding=padding),\n            nn.ReLU(inplace=True),'
BEFORE_REPR = '    def __repr__(self):\n        return summary_of_evaluator(self)\n'


def code_changes():
    """Return the Changes (list)."""
    return [
        *_of_lenet(),
        *_of_other_models(),
        *_overridden_methods(),
        *EVALUATION,
        *_of_recorder(),
        *LOSS_AND_METRICS,
        *DATA,
        *OPTIONS_AND_TASKS,
    ]


def _in(path, kind, run, name, old, new):
    """Return the Change of one text in one file."""
    return Change(kind, name, run, [Edit(path, old, new)], (path,))


def _lenet(name, new, old=LENET_FORWARD):
    return _in(LENET, 'model', 'digits', f'LeNet: {name}', old, new)


def _of_lenet():
    def forward(body):
        return f'return {body}'

    features = 'self.features(images)'
    return [
        _lenet('clamp of the inputs', forward('self.classifier(self.features(images.clamp(-0.4, 2.0)))')),
        _lenet('clamp far out', forward('self.classifier(self.features(images.clamp(max=2.7)))')),
        _lenet('ReLU6', FIRST_RELU.replace('ReLU(inplace=True)', 'ReLU6()'), FIRST_RELU),
        _lenet('cap on the logits', forward(f'self.classifier({features}).clamp(max=4.0)')),
        _lenet('soft cap on the logits', forward(f'30 * (self.classifier({features}) / 30).tanh()')),
        _lenet('GELU', FIRST_RELU.replace('ReLU(inplace=True)', 'GELU()'), FIRST_RELU),
        _lenet('small slope', FIRST_RELU.replace('ReLU(inplace=True)', 'LeakyReLU(0.01)'), FIRST_RELU),
        _lenet('average pooling', 'nn.AvgPool2d(2)', 'nn.MaxPool2d(2)'),
        _lenet('scaled logits', forward(f'1.01 * self.classifier({features})')),
        _lenet('mirrored inputs', forward('self.classifier(self.features(images.flip(3)))')),
        _lenet('rounded features', forward('self.classifier(self.features(images).mul(4).round().div(4))')),
        _lenet('a small eps', forward(f'self.classifier({features} + 1e-3)')),
        _lenet('half precision', forward(f'self.classifier({features}.half().float())')),
        _lenet('shift by one pixel', forward('self.classifier(self.features(images.roll(1, 3)))')),
        Change(
            'shapes',
            'LeNet: a wider layer',
            'digits',
            [
                Edit(LENET, 'nn.Linear(16 * height * width, 120)', 'nn.Linear(16 * height * width, 128)'),
                Edit(LENET, 'nn.Linear(120, 84)', 'nn.Linear(128, 84)'),
            ],
            (LENET,),
        ),
        _in(
            UNET,
            'shapes',
            'masks',
            'UNet: another kernel size',
            'nn.Conv2d(width, num_classes, 1)',
            'nn.Conv2d(width, num_classes, 3, padding=1)',
        ),
    ]


def _of_other_models():
    return [
        _in(
            BLOCKS,
            'model',
            'masks',
            'batch norm: eps',
            'nn.BatchNorm2d(out_channels)',
            'nn.BatchNorm2d(out_channels, eps=1e-3)',
        ),
        _in(BLOCKS, 'model', 'masks', 'upsampling: bilinear', "mode='nearest'", "mode='bilinear'"),
        _in(BLOCKS, 'model', 'masks', 'activation: ReLU6', 'F.relu(self.norm', 'F.relu6(self.norm'),
        _in(
            UNET,
            'model',
            'masks',
            'UNet: average pooling',
            'nn.MaxPool2d(2, ceil_mode=True)',
            'nn.AvgPool2d(2, ceil_mode=True)',
        ),
        _in(
            UNET,
            'model',
            'masks',
            'UNet: order of the skip connection',
            'torch.cat((skip, up(features, skip)), dim=1)',
            'torch.cat((up(features, skip), skip), dim=1)',
        ),
        _in(MLP, 'model', 'table', 'MLP: ReLU6', 'nn.ReLU(inplace=True)', 'nn.ReLU6()'),
        _in(
            MLP,
            'model',
            'table',
            'MLP: clamp of the inputs',
            'self.layers(images)',
            'self.layers(images.clamp(-1.8, 1.8))',
        ),
    ]


def _method(name, body):
    """Return the Change of a method that is added to Evaluator (name and body, str)."""
    return _in(EVAL, 'evaluation', 'digits', f'Evaluator.{name} overridden', BEFORE_REPR, f'{body}\n{BEFORE_REPR}')


def _overridden_methods():
    step = (
        '    def step(self, batch):\n        """Mirror."""\n'
        '        return super().step((batch[0].flip(3), *batch[1:]))\n'
    )
    loss = (
        '    def compute_loss(self, predictions, targets):\n        """Scale."""\n'
        '        return 1.1 * super().compute_loss(predictions, targets)\n'
    )
    metrics = (
        '    def compute_metrics(self, predictions, targets, metrics):\n        """Round."""\n'
        '        super().compute_metrics(predictions.round(), targets, metrics)\n'
    )
    device = (
        '    def to_device(self, batch):\n        """Darken."""\n        images, targets = super().to_device(batch)\n'
        '        return images - 0.05, targets\n'
    )
    return [
        _method('step', step),
        _method('compute_loss', loss),
        _method('compute_metrics', metrics),
        _method('to_device', device),
    ]


EVALUATION = [
    _in(
        ENGINE,
        'evaluation',
        'digits',
        'Engine.to_device',
        'return match_net_dtype(images, self.model)',
        'return match_net_dtype(images * 1.02, self.model)',
    ),
    _in(
        ENGINE,
        'evaluation',
        'digits',
        'Engine.loss_count',
        'return self.loss.count(*for_loss(',
        'return 1 + self.loss.count(*for_loss(',
    ),
    _in(ENGINE, 'evaluation', 'digits', 'Engine.loss_parts', "{'': (1.0, loss, self", "{'': (1.0, loss * 1.01, self"),
    _in(
        'utils/training/precision.py',
        'evaluation',
        'digits',
        'precision.forward',
        '        return net(images)',
        '        return net(images).round(decimals=1)',
    ),
    _in(
        'utils/training/batch_transform.py',
        'evaluation',
        'digits',
        'normalisation',
        '[0.0], device=device).view(1, -1, 1, 1) * 255',
        '[0.0], device=device).view(1, -1, 1, 1) * 250',
    ),
    _in(
        'utils/distributed/processes.py',
        'reductions',
        'digits',
        'all_reduce_evaluation',
        '        return recorder, metrics, seen\n',
        "        recorder.record('loss', 0.0, 10)\n        return recorder, metrics, seen\n",
    ),
]


def _recorder(name, old, new):
    return _in(LOGGER, 'recorder', 'digits', name, old, new)


def _of_recorder():
    return [
        _recorder(
            'Recorder.mean',
            'return float(self.sums[name]) / count if',
            'return float(self.sums[name]) / (count + 1) if',
        ),
        _recorder('Recorder._add_waiting', '+ (values * counts).sum()', '+ 1.001 * (values * counts).sum()'),
        _recorder(
            'a helper: _as_tensor',
            'torch.full((), n, **full) for n in numbers]).double()',
            'torch.full((), n, **full) for n in numbers]).double().round(decimals=2)',
        ),
        _recorder(
            'Recorder.summary', 'means = {name: self.mean(name) for', 'means = {name: round(self.mean(name), 2) for'
        ),
    ]


LOSS_AND_METRICS = [
    _in(
        'loss.py',
        'loss',
        'digits',
        'select_loss',
        '    weights = parse_terms(args.loss)\n',
        '    args.label_smoothing = 0.2\n    weights = parse_terms(args.loss)\n',
    ),
    _in(
        'loss.py',
        'loss',
        'digits',
        'a helper of select_loss',
        '    return chosen.from_args(args)',
        '    args.label_smoothing = 0.1\n    return chosen.from_args(args)',
    ),
    _in(
        'utils/losses/classification.py',
        'loss',
        'digits',
        'CrossEntropy',
        'label_smoothing=self.label_smoothing,',
        'label_smoothing=self.label_smoothing + 0.1,',
    ),
    _in(
        'utils/losses/common.py',
        'loss',
        'digits',
        'a helper: at_least_float32',
        'bfloat16) else predictions',
        'bfloat16) else predictions.half().float()',
    ),
    _in(
        'metrics.py',
        'metrics',
        'digits',
        'select_metrics',
        '    return chosen.from_args(args)',
        '    args.ignore_index = 3\n    return chosen.from_args(args)',
    ),
    _in(
        'utils/metrics/classification.py',
        'metrics',
        'digits',
        'accuracy',
        '(found.hits.sum() / found.truth.sum()).item()}',
        '(found.hits.sum() / (found.truth.sum() + 1)).item()}',
    ),
    _in(
        'utils/metrics/confusion.py',
        'metrics',
        'digits',
        'counts of the confusion matrix',
        'predicted = predictions.max(1).indices',
        'predicted = predictions.min(1).indices',
    ),
    _in(
        'utils/metrics/segmentation.py',
        'metrics',
        'masks',
        'IoU',
        'hits / (truth + predicted - hits)',
        'hits / (truth + predicted - hits + 1)',
    ),
    _in(
        'utils/metrics/regression.py',
        'metrics',
        'table',
        'RMSE',
        "{'rmse': squared.mean().sqrt()",
        "{'rmse': squared.mean()",
    ),
]


OPTIONS_AND_TASKS = [
    _in(
        'options.py',
        'options',
        'digits',
        'prepare_test_args',
        '    args.result_dir = get_test_result_dir(args)\n',
        '    args.label_smoothing = 0.3\n    args.result_dir = get_test_result_dir(args)\n',
    ),
    _in(
        'utils/tasks/target_scale.py',
        'tasks',
        'table',
        'the scale of targets',
        "getattr(args, 'target_mean', None), getattr(args, 'target_std', None)",
        "getattr(args, 'target_mean', None), [1.1 * v for v in getattr(args, 'target_std', None) or []] or None",
    ),
]


DATA = [
    _in(
        'data/digits.py',
        'data',
        'digits',
        'digits',
        "file[f'{part}_images']).unsqueeze(1)",
        "file[f'{part}_images']).unsqueeze(1) // 2 * 2",
    ),
    _in(
        'data/loader.py',
        'data',
        'digits',
        'the loader',
        'parts = [images.split(sizes)',
        'parts = [images.roll(1, -1).split(sizes)',
    ),
    _in(
        'data/data_entry.py',
        'data',
        'digits',
        'complete_args',
        'setattr(args, name, _fitting_channels(args, name, values))',
        'setattr(args, name, _fitting_channels(args, name, [1.1 * v for v in values]))',
    ),
    _in(
        'data/data_entry.py',
        'data',
        'digits',
        'a helper of complete_args',
        '        return list(values)\n',
        '        return [value + 0.01 for value in values]\n',
    ),
    _in(
        'data/lists/pictures.py',
        'data',
        'list',
        'read_picture',
        'np.stack([np.asarray(band) for band in bands])',
        'np.stack([np.asarray(band) // 4 * 4 for band in bands])',
    ),
    _in(
        'data/lists/pictures.py',
        'data',
        'list',
        'a helper of read_picture',
        'return picture if picture.mode == mode else',
        "return picture.convert('L').convert(mode) if picture.mode == mode else",
    ),
    _in(
        'data/lists/masks.py',
        'data',
        'masks',
        'masks',
        '                return pixels\n',
        '                return np.roll(pixels, 1)\n',
    ),
    _in(
        'data/array.py',
        'data',
        'table',
        'a helper of ArrayDataset',
        '/ np.array(args.std)',
        '/ (np.array(args.std) + 0.01)',
    ),
    _in(
        'data/list_dataset.py',
        'data',
        'list',
        'ListDataset.read_target',
        'target = self.labels[index]',
        'target = self.labels[index - 1]',
    ),
]
