"""Classification models of timm by name, if timm is installed: --model_type timm:convnext_tiny.

timm.list_models(pretrained=True) and https://huggingface.co/timm list the names, also of single sets of weights
(resnet18.a1_in1k).
"""

import contextlib
import pickle

import torch

from model.pretrained import timm_address, timm_size_text, timm_weights_names
from utils.base.errors import DanluError
from utils.base.registry import close_names

OPTION_OF = {'in_chans': '--channels', 'img_size': '--image_size'}


def timm_model(name, task, num_classes, in_channels=3, pretrained=False, image_size=None, **given):
    """Return a model of timm whose head has num_classes outputs, on the CPU.

    Args:
        name: timm's name, for example 'resnet18' or 'resnet18.a1_in1k'.
        task: one of `tasks`.
        num_classes: number of outputs.
        in_channels: channels of the images; pretrained weights of the first layer are adapted.
        pretrained: load timm's weights for this name, with a new head.
        image_size: (height, width) of the images, needed by vision transformers; None: the model's own.
        given: other arguments of timm.create_model and of the model, such as drop_path_rate=0.1.

    Returns:
        nn.Module: takes float images (N, in_channels, H, W) and returns logits (N, num_classes).

    Raises:
        DanluError: timm is not installed, does not know the name, or cannot build the model for such images; or the
            weights cannot be downloaded.
    """
    timm = _imported(name)
    _check_name(timm, name)
    for argument in given:
        if argument in OPTION_OF:
            raise DanluError(f'--model_args {argument}: that is {OPTION_OF[argument]}')
    options = {'num_classes': num_classes, 'in_chans': in_channels, **given}
    try:
        if image_size is not None:
            options |= _size_options(timm, name, image_size, options)
        with _downloading(timm, name) if pretrained else contextlib.nullcontext():
            return timm.create_model(name, pretrained=pretrained, **options)
    except TypeError as error:  # raised by timm's constructors for unknown arguments
        if 'unexpected keyword' not in str(error) or not given:
            raise
        raise DanluError(f'--model_args {" ".join(given)}: timm:{name} does not take that: {error}') from error


timm_model.tasks = ('classification', 'multilabel', 'regression')  # none of its models has an answer per pixel


def _imported(name):
    """Return the module timm, or say how to get it."""
    try:
        import timm
    except ModuleNotFoundError as error:
        if error.name != 'timm':
            raise
        raise DanluError(
            f'--model_type timm:{name} needs timm, which is not installed here: pip install timm (it is optional, see '
            'requirements-extra.txt), or choose torchvision:<name>'
        ) from None
    return timm


def _check_name(timm, name):
    """Refuse names unknown to timm."""
    architecture, _, tag = name.partition('.')
    if ':' in name or '/' in name or not timm.is_model(architecture):
        known = timm.list_models()
        close = close_names(architecture, known, 5)
        hint = f'; did you mean {" or ".join(close)}?' if close else ''
        raise DanluError(
            f'unknown timm model {name!r}{hint} (it has {len(known):,}: python -c '
            '"import timm; print(timm.list_models(\'*resnet*\'))")'
        )
    tagged = timm.list_pretrained(f'{architecture}.*')
    if tag and name not in tagged:
        raise DanluError(f'timm:{architecture} has no weights {tag!r}; it has {", ".join(tagged) or "none"}')


def _size_options(timm, name, image_size, options):
    """Return the keyword arguments (dict) for the image size, and refuse sizes that the model does not support.

    Tries the model on the meta device, which takes no memory and little time. Models that do not work there at any size
    are not checked.
    """
    problem = None
    for sized in ({'img_size': tuple(image_size)}, {}):
        try:
            _try_on_meta(timm, name, image_size, {**options, **sized})
            return sized
        except TypeError as error:
            if 'img_size' not in str(error):
                raise
        except (AssertionError, RuntimeError, ValueError) as error:
            problem = next(iter(str(error).splitlines()), type(error).__name__)
            break
    own = timm.get_pretrained_cfg(name).input_size[1:]
    try:
        _try_on_meta(timm, name, own, options)
    except (AssertionError, RuntimeError, ValueError):
        return sized
    raise DanluError(
        f'timm:{name} cannot take --image_size {image_size[0]} {image_size[1]}: {problem}; it was made for '
        f'--image_size {own[0]} {own[1]}'
    )


def _try_on_meta(timm, name, image_size, options):
    """Build a model and run it on one image, on the meta device."""
    with torch.device('meta'), torch.inference_mode():
        timm.create_model(name, **options).eval()(torch.zeros(1, options['in_chans'], *image_size))


def missing_weights_text(timm, name):
    """Return what was looked for and where, and how to give it (str), for a message; '' if timm has no weights."""
    if not timm.get_pretrained_cfg(name).has_weights:
        return ''
    return (
        f'looked for {timm_address(timm, name)} ({timm_size_text(timm, name)}; the environment variable HF_ENDPOINT '
        f'gives another hub); without a network, put the file at DIR/{timm_weights_names(timm, name)[0]} and give '
        '--pretrained_dir DIR, '
    )


@contextlib.contextmanager
def _downloading(timm, name):
    """Convert errors of downloading or reading weights to a DanluError with instructions."""
    try:
        yield
    # Errors of the Hugging Face Hub and URLError are OSErrors; timm raises RuntimeError if there are no weights.
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        from huggingface_hub.constants import HF_HUB_CACHE

        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        tags = ', '.join(timm.list_pretrained(f'{name.partition(".")[0]}.*')) or 'none'
        raise DanluError(
            f'cannot load pretrained weights of timm:{name} ({reason}): it has {tags}; '
            f'{missing_weights_text(timm, name)}copy {HF_HUB_CACHE} from a machine that has loaded them, or leave out '
            '--pretrained'
        ) from error
