"""No test of the models may reach the network, and each sees an empty folder of downloaded weights."""

import pytest
import torch


def refuse(url, *args, **kwargs):
    raise AssertionError(f'a test tried to download {url}')


@pytest.fixture(autouse=True)
def hub(monkeypatch, tmp_path):
    """Return the folder (Path) where torch looks for weights."""
    torch.set_num_threads(1)
    monkeypatch.setattr(torch.hub, '_hub_dir', None)
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch_home'))
    monkeypatch.setattr('torch.hub.download_url_to_file', refuse)
    folder = tmp_path / 'torch_home' / 'hub' / 'checkpoints'
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def no_network(monkeypatch):
    """Let downloads fail as they do on a machine without a network."""
    from urllib.error import URLError

    def fail(url, *args, **kwargs):
        raise URLError('Temporary failure in name resolution')

    monkeypatch.setattr('torch.hub.download_url_to_file', fail)
