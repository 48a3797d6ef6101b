"""Small generated data sets, and the built-in runs that are interrupted."""

import tarfile
from pathlib import Path

import numpy as np
from PIL import Image


def make_pictures(folder, count):
    """Make pictures and masks in a directory and return it: lists train.txt, val.txt, masks.txt, and stream.tar."""
    folder, random = Path(folder), np.random.default_rng(1)
    folder.mkdir(parents=True, exist_ok=True)
    labels = {'train': [], 'val': [], 'masks': []}
    for index in range(count):
        mask = np.repeat(np.repeat(random.integers(0, 3, (4, 4)), 5, axis=0), 5, axis=1)
        pixels = random.integers(0, 140, (20, 20, 3)) + 40 * mask[..., None]
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f'{index:04d}.png')
        Image.fromarray(mask.astype(np.uint8)).save(folder / f'{index:04d}_mask.png')
        labels['train'].append(f'{index:04d}.png\t{index % 3}')
        labels['masks'].append(f'{index:04d}.png\t{index:04d}_mask.png')
    labels['val'] = labels['train'][:12]
    for name, lines in labels.items():
        (folder / f'{name}.txt').write_text('\n'.join(lines) + '\n', encoding='utf-8')
    with tarfile.open(folder / 'stream.tar', 'w') as archive:
        for index in range(count):
            (folder / f'{index:04d}.cls').write_text(str(index % 3), encoding='utf-8')
            for ending in ('png', 'cls'):
                archive.add(folder / f'{index:04d}.{ending}', f'{index:04d}.{ending}')
    return folder


def make_table(path, count, huge=None):
    """Make an .npz of features and two targets for regression and return its path; the loss of sample `huge` is inf."""
    random = np.random.default_rng(2)
    features = random.normal(size=(count, 6)).astype(np.float32)
    targets = (features[:, :2] * 2 + 0.1 * random.normal(size=(count, 2))).astype(np.float32)
    if huge is not None:
        targets[huge] = 1e30
    np.savez(path, x=features, y=targets)
    return path


def make_data(folder, count):
    """Make all that a file of configurations may use in a directory, which is returned (Path).

    What `make_pictures` makes of `count` pictures, and lists of the same: uneven.txt (classes of unequal size),
    sets.txt (of four labels), pairs.txt (a picture as the target). table.npz and held_out.npz: features and two
    targets; the loss of one training sample is infinite.
    """
    folder = make_pictures(folder, count)
    names, lists = [f'{index:04d}.png' for index in range(count)], {}
    lists['uneven'] = [f'{name}\t{min(index % 7, 2) // (1 + index % 2)}' for index, name in enumerate(names)]
    lists['sets'] = [f'{name}\t{index % 4},{(index + 1 + index // 4 % 3) % 4}' for index, name in enumerate(names)]
    lists['pairs'] = [f'{name}\t{other}' for name, other in zip(names, names[1:] + names[:1], strict=True)]
    for name, lines in lists.items():
        (folder / f'{name}.txt').write_text('\n'.join(lines) + '\n', encoding='utf-8')
    make_table(folder / 'table.npz', 2 * count, huge=count)
    make_table(folder / 'held_out.npz', 12)
    return folder


def cases(folder, count, epochs):
    """Return the options of the runs (dict from a name to a list of words) on data that is made in `folder`."""
    pictures = make_pictures(Path(folder, 'pictures'), count)
    table = make_table(Path(folder, 'table.npz'), 4 * count, huge=count)
    held_out = make_table(Path(folder, 'held_out.npz'), 12)
    lists = ['--train_list', pictures / 'train.txt', '--val_list', pictures / 'val.txt', '--num_classes', 3]
    masks = ['--train_list', pictures / 'masks.txt', '--val_list', pictures / 'masks.txt', '--num_classes', 3]
    stream = ['--train_list', pictures / 'stream.tar', '--val_list', pictures / 'stream.tar', '--num_classes', 3]
    dropout = ['--model_type', 'mlp', '--model_args', 'hidden=32', 'dropout=0.3']
    wide = ['--model_type', 'mlp', '--model_args', 'hidden=128', 'dropout=0.3']  # last.pth is larger than source.zip
    gathering = (
        '--accumulate 3 --ema 0.9 --schedule plateau --plateau_patience 0 --warmup_epochs 1 --clip_norm 1'.split()
    )
    common = ['--no_report', '--no_index', '--epochs', epochs, '--print_freq', 2, '--device', 'cpu', '--batch_size', 4]
    common += ['--lr', 0.003]
    runs = {
        'classification': ['--data_type', 'list', *lists, *dropout, '--augment', 'strong'],
        'segmentation': ['--data_type', 'list', '--task', 'segmentation', *masks, '--model_type', 'unet',
                         '--model_args', 'width=4', '--augment', 'flip'],
        'gathering': ['--data_type', 'list', *lists, '--augment', 'flip', *gathering],
        'memory': ['--data_type', 'mem_list', *lists, *wide, '--augment', 'flip', '--mixup', 0.4],
        'stream': ['--data_type', 'stream', *stream, *dropout, '--shuffle_buffer', 9, '--optimizer', 'sgd'],
        'regression': ['--data_type', 'array', '--task', 'regression', '--train_list', table, '--val_list', held_out,
                       '--num_targets', 2, *dropout, '--on_nan', 'skip'],
    }  # fmt: skip
    return {name: [*map(str, words), *map(str, common)] for name, words in runs.items()}
