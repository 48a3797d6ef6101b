"""Runs whose lists have labels that do not count."""

import csv

import numpy as np
from PIL import Image


def test_ignored_labels_count_in_no_metric(tmp_path, train_here, eval_here):
    rng = np.random.default_rng(0)
    lines = []
    for number in range(18):
        label = (0, 1, -100)[number % 3]
        pixels = rng.integers(0, 60, (8, 8, 3)) + 90 * (label % 2)
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / f'{number}.png')
        lines.append(f'{number}.png {label}\n')
    (tmp_path / 'train.txt').write_text(''.join(lines))
    words = ['--data_type', 'mem_list', '--train_list', tmp_path / 'train.txt', '--val_list', tmp_path / 'train.txt']
    words += ['--ignore_index', '-100', '--model_type', 'cifar_cnn', '--batch_size', '6', '--epochs', '2', '--report']
    run = train_here(*map(str, words), '--checkpoints_dir', str(tmp_path / 'runs'))
    assert 'ignored training samples, by --ignore_index -100: 6 (33.3%)' in run.stdout
    assert '--ignore_index=-100' in (run.directory / 'args.txt').read_text()
    test = eval_here('--load_model_path', run.directory / 'best.pth', '--save_viz')
    with open(test.directory / 'predictions.csv', encoding='utf-8-sig') as file:
        rows = list(csv.DictReader(file))
    assert [row['target'] for row in rows[:3]] == ['0', '1', '-100']
    assert all((row['correct'] == '') == (row['target'] == '-100') for row in rows)
    right = [int(row['correct']) for row in rows if row['correct']]
    assert float(test.values['acc']) == np.mean(right)
