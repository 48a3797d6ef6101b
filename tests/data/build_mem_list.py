"""Build a MemList, as test_data_pixel_cache.py asks for it: settings as JSON, then options of train.py."""

import json
import os
import resource
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
signal.signal(signal.SIGINT, signal.default_int_handler)  # tests started in the background of a shell ignore it

import data.cache.decode_cache
import data.list_dataset
import data.mem_list
from data.data_entry import complete_args
from data.mem_list import MemList
from options import parse_train_args
from utils.base.errors import DanluError

settings = json.loads(sys.argv[1])
torch = data.mem_list.torch
torch.set_num_threads(1)
data.list_dataset.cpu_cores = lambda: 2  # the stacks of the threads are memory too
data.mem_list.MIN_SAMPLES_FOR_PROCESSES = settings.get('many', 100)
data.mem_list.cpu_cores = data.list_dataset.cpu_cores
read = data.list_dataset.ListDataset.read_image


def slowly(*args, **options):
    while not os.path.exists(settings.get('gate', '/')):
        time.sleep(0.01)
    return read(*args, **options)


data.list_dataset.ListDataset.read_image = slowly
if 'largest' in settings:
    resource.setrlimit(resource.RLIMIT_FSIZE, (settings['largest'], settings['largest']))
if settings.get('unreserved'):
    data.cache.decode_cache._reserve = lambda handle, size: None
args = parse_train_args(sys.argv[2:])
complete_args(args)


def private():
    with open('/proc/self/status') as lines:
        return sum(int(line.split()[1]) for line in lines if line.startswith('VmData')) * 1024


if 'memory' in settings:
    bound = private() + settings['memory']
    resource.setrlimit(resource.RLIMIT_DATA, (bound, bound))
try:
    found = MemList(args, 'train')
except DanluError as error:
    sys.exit(str(error))
print(*found.notes)
print(sum(found.block.images[n].sum().item() for n in range(len(found))))
