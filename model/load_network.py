"""The network of a checkpoint, built, loaded and checked."""

from model.model_entry import select_model
from utils.base.errors import DanluError
from utils.options import given_parts
from utils.provenance.checkpoint_check import check_loaded, explain_misfit
from utils.runs.checkpoint import load_selected_weights
from utils.training.network_device import placed
from utils.training.ready_parts import check_model


def load_network(args, checkpoint, device, use, net=None):
    """Return the network (nn.Module on the device) of a checkpoint, lines (list of str), and its CheckpointCheck.

    `use` is as for utils.provenance.checkpoint_check.check_loaded; `net`: to load into, instead of a new one.
    """
    if args.code != 'now':
        raise DanluError(f'--code {args.code} is for the command line of eval.py, which starts another process')
    if net is None:
        given_parts.needed_by_name(args, 'model')
    else:
        check_model(net)
    args.pretrained = False  # the weights come from the checkpoint
    net = select_model(args) if net is None else net
    with explain_misfit(checkpoint, args.load_model_path, args):
        loaded = load_selected_weights(net, checkpoint, args)
    check = check_loaded(placed(net, device), checkpoint, args.load_model_path, args, loaded, use)
    return net, [*loaded, *check.lines], check
