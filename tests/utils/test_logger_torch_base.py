"""The Logger under the names that torch_base has for what it does."""

import csv
import io
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from utils.base.errors import DanluError
from utils.logger import Logger, Recoder, Recorder


def test_a_trainer_of_torch_base_logs_as_it_did(tmp_path):
    model = nn.DataParallel(nn.Linear(2, 1))
    logger = Logger(SimpleNamespace(model_dir=str(tmp_path)))
    for value in (1.0, 3.0):
        logger.record_scalar('train/l1', torch.tensor(value))
    logger.save_curves(0)
    logger.save_check_point(model, 0)
    assert (tmp_path / '00_000000.pth').is_file(), 'it is there at once, as a program may read it'
    logger.save_check_point(model, 1, step=20)
    logger.close()
    with open(tmp_path / 'history.csv', encoding='utf-8', newline='') as file:
        assert list(csv.DictReader(file)) == [{'epoch': '0', 'train/l1': '2.0'}]
    for name in ('00_000000.pth', '01_000020.pth'):
        state = torch.load(tmp_path / name, weights_only=True)
        assert list(state) == ['weight', 'bias'] and torch.equal(state['weight'], model.module.weight)


def test_pictures_may_be_tensors_with_the_channels_first(tmp_path):
    logger, colours = Logger(tmp_path), torch.zeros(3, 4, 6)
    colours[1] = 1.0
    logger.save_imgs({'green': colours, 'grey': torch.full((1, 4, 6), 0.5)}, 1)
    logger.save_imgs({'array': colours.permute(1, 2, 0).numpy(), 'mask': torch.zeros(4, 6)}, 1)
    with pytest.raises(DanluError, match=r"image 'logits' has the shape \(11, 4, 6\)"):
        logger.save_imgs({'logits': torch.zeros(11, 4, 6)}, 1)
    logger.close()
    reader = EventAccumulator(str(tmp_path), size_guidance={'images': 0})
    reader.Reload()
    pixels = {}
    for tag in reader.Tags()['images']:
        (event,) = reader.Images(tag)
        pixels[tag] = np.asarray(Image.open(io.BytesIO(event.encoded_image_string)).convert('RGB'))
    assert {tag: array.shape for tag, array in pixels.items()} == dict.fromkeys(pixels, (4, 6, 3))
    assert pixels['green'][2, 3].tolist() == pixels['array'][2, 3].tolist() == [0, 255, 0]
    assert len(pixels) == 4


def test_the_recorder_has_both_spellings():
    assert Recoder is Recorder


def test_other_processes_have_the_same_names_and_write_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    logger = Logger(tmp_path, enabled=False)
    logger.record_scalar('train/l1', 2.0)
    logger.save_check_point(nn.Linear(2, 1), 0)
    logger.save_imgs({'green': torch.zeros(3, 4, 6)}, 1)
    logger.save_steps(1, 0.1)
    logger.writer.add_scalar('train/mine', 1.0, 1)
    assert logger.save_curves(1) == {'epoch': 1, 'train/l1': 2.0}
    assert (logger.flush(), logger.history) == (None, [{'epoch': 1, 'train/l1': 2.0}])
    logger.close()
    assert not list(tmp_path.iterdir())
