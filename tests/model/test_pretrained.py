"""--pretrained where no hub is reachable: weights from a directory, and what is said if they are not there."""

import hashlib
import http.server
import json
import re
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest
import torch
from torchvision import models

from model.model_entry import select_model
from utils.base.errors import DanluError
from utils.base.registry import PROJECT


def make_args(model_type, folder, **changes):
    options = {'task': 'classification', 'num_classes': 5, 'channels': 3, 'image_size': [64, 64], 'pretrained': True,
               'model_args': None, 'pretrained_dir': None if folder is None else str(folder)}  # fmt: skip
    return SimpleNamespace(model_type=model_type, **(options | changes))


@pytest.fixture
def squeezenet(tmp_path, monkeypatch):
    """Return the file of weights of SqueezeNet 1.1 in a directory, whose name has the right hash."""
    partial = tmp_path / 'weights.pth'
    torch.save(models.squeezenet1_1().state_dict(), partial)
    path = tmp_path / f'squeezenet1_1-{hashlib.sha256(partial.read_bytes()).hexdigest()[:8]}.pth'
    partial.rename(path)
    monkeypatch.setattr(models.WeightsEnum, 'url', property(lambda weights: f'https://example.org/models/{path.name}'))
    return path


def check_torchvision(net, path):
    """Check that a network has the weights of the file, but for its head."""
    weights = torch.load(path, weights_only=True)
    assert torch.equal(net.state_dict()['features.0.weight'], weights['features.0.weight'])
    assert net.state_dict()['classifier.1.weight'].shape[0] == 5


@pytest.mark.parametrize('folder', ['', 'checkpoints', 'hub/checkpoints'])
def test_torchvision_reads_the_file_from_the_directory_or_a_copy_of_its_cache(squeezenet, tmp_path, folder):
    (tmp_path / 'copy' / folder).mkdir(parents=True)
    (tmp_path / 'copy' / folder / squeezenet.name).write_bytes(squeezenet.read_bytes())
    download = models.WeightsEnum.get_state_dict
    check_torchvision(select_model(make_args('torchvision:squeezenet1_1', tmp_path / 'copy')), squeezenet)
    assert models.WeightsEnum.get_state_dict is download


def test_a_missing_or_damaged_file_is_named_with_size_and_address(squeezenet, tmp_path):
    (tmp_path / 'empty').mkdir()
    says = rf'empty has no file {squeezenet.name} \(5.0 MB\); put there a copy of https://example.org/models/squeeze'
    with pytest.raises(DanluError, match=says):
        select_model(make_args('torchvision:squeezenet1_1', tmp_path / 'empty'))
    squeezenet.write_bytes(squeezenet.read_bytes()[:-1000])
    with pytest.raises(DanluError, match=r'is not the whole file: .* 5.0 MB; copy it again from https://example.org'):
        select_model(make_args('torchvision:squeezenet1_1', tmp_path))


def test_a_failed_download_names_file_size_and_option(squeezenet, monkeypatch):
    def fail(*args, **options):
        raise OSError('Temporary failure in name resolution')

    monkeypatch.setattr(models.WeightsEnum, 'get_state_dict', fail)
    with pytest.raises(
        DanluError, match=rf'download \S+{squeezenet.name} \(5.0 MB\): Temporary failure .*--pretrained_dir DIR'
    ):
        select_model(make_args('torchvision:squeezenet1_1', None))


@pytest.mark.slow('trains a SqueezeNet')
def test_a_run_starts_from_the_directory(squeezenet, train_here, list_data, tmp_path):
    words = [
        '--model_type',
        'torchvision:squeezenet1_1',
        '--image_size',
        64,
        '--epochs',
        1,
        '--lr',
        1e-9,
        '--no_report',
    ]
    run = train_here(*list_data, *words, '--pretrained', '--pretrained_dir', tmp_path, '--checkpoints_dir', tmp_path)
    weights = torch.load(run.directory / 'best.pth', weights_only=True)['model']
    expected = torch.load(squeezenet, weights_only=True)['features.0.weight']
    torch.testing.assert_close(weights['features.0.weight'], expected, rtol=0, atol=1e-5)


# --- timm


@pytest.fixture
def timm():
    """Return the module, or skip the test: it is an optional extra."""
    return pytest.importorskip('timm', reason='timm is not installed: pip install -r requirements-extra.txt')


@pytest.mark.parametrize(
    'name', ['test_resnet.r160_in1k/model.safetensors', 'test_resnet.r160_in1k.safetensors',
             'test_resnet.r160_in1k/pytorch_model.bin'],
)  # fmt: skip
def test_timm_reads_a_file_of_its_hub_from_the_directory(timm, tmp_path, name):
    weights = timm.create_model('test_resnet').state_dict()
    (tmp_path / name).parent.mkdir(exist_ok=True)
    if name.endswith('bin'):
        torch.save(weights, tmp_path / name)
    else:
        pytest.importorskip('safetensors.torch').save_file(weights, tmp_path / name)
    net = select_model(make_args('timm:test_resnet', tmp_path))
    assert torch.equal(net.state_dict()['conv1.0.weight'], weights['conv1.0.weight'])
    assert net.get_classifier().out_features == 5


def test_a_missing_file_of_timm_is_named_with_size_and_address(timm, tmp_path):
    says = (
        r'has none of the files test_resnet.r160_in1k/model.safetensors, .* for timm:test_resnet \(about 1.9 MB\); '
        'put there a copy of https://[^ ]*/timm/test_resnet.r160_in1k/resolve/main/model.safetensors'
    )
    with pytest.raises(DanluError, match=says):
        select_model(make_args('timm:test_resnet', tmp_path))
    with pytest.raises(DanluError, match="unknown timm model 'tst_resnet'"):
        select_model(make_args('timm:tst_resnet', tmp_path))


def test_a_failed_download_of_timm_says_what_was_looked_for(timm, monkeypatch):
    def fail(*args, **options):
        raise OSError('Temporary failure in name resolution')

    monkeypatch.setattr('timm.models._builder.load_pretrained', fail)
    says = r'looked for https://\S+/test_resnet.r160_in1k/resolve/main/model.safetensors \(about 1.9 MB; .*HF_ENDPOINT'
    with pytest.raises(DanluError, match=says + r'.* put the file at DIR/test_resnet.r160_in1k/model.safetensors'):
        select_model(make_args('timm:test_resnet', None))


class Hub(http.server.BaseHTTPRequestHandler):
    """A mirror of the Hugging Face Hub with one file."""

    def do_HEAD(self):
        self.send(b'')

    def do_GET(self):
        self.send(self.server.content)

    def send(self, content):
        found = self.path == '/timm/test_resnet.r160_in1k/resolve/main/model.safetensors'
        self.server.asked.append(self.path)
        self.send_response(200 if found else 404)
        headers = {'ETag': '"1"', 'X-Repo-Commit': 'a' * 40, 'Content-Length': str(len(self.server.content))}
        for name, value in (headers if found else {'Content-Length': '0'}).items():
            self.send_header(name, value)
        self.end_headers()
        if found:
            self.wfile.write(content)

    def log_message(self, *args):
        """Print nothing."""


@pytest.mark.slow('a new interpreter')
def test_the_hub_of_hf_endpoint_is_asked(timm, tmp_path):
    save = pytest.importorskip('safetensors.torch').save
    weights = timm.create_model('test_resnet').state_dict()
    program = (
        'from types import SimpleNamespace as N; import json, sys; from model.model_entry import select_model; '
        'state = select_model(N(**json.loads(sys.argv[1]))).state_dict(); '
        'print("sum", float(state["conv1.0.weight"].sum()))'
    )
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Hub) as server:
        server.content, server.asked = save(weights), []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        words = [sys.executable, '-c', program, json.dumps(vars(make_args('timm:test_resnet', None)))]
        address = f'http://127.0.0.1:{server.server_port}'
        env = {'HF_ENDPOINT': address, 'HF_HOME': str(tmp_path), 'HF_HUB_DISABLE_XET': '1', 'NO_PROXY': '*'}
        done = subprocess.run(words, cwd=PROJECT, env={**env, 'PATH': '/usr/bin:/bin'}, capture_output=True, text=True,
                              check=False, timeout=300)  # fmt: skip
        server.shutdown()
    assert done.returncode == 0, done.stderr
    assert float(re.search('sum (.*)', done.stdout)[1]) == pytest.approx(
        float(weights['conv1.0.weight'].sum()), abs=1e-4
    )
    assert server.asked
