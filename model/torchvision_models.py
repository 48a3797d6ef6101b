"""Classification and segmentation models of torchvision by name: --model_type torchvision:resnet18.

Classification models also support multilabel and regression. Names, papers and image sizes:
https://docs.pytorch.org/vision/stable/models
"""

from torch import nn
from torchvision import models
from torchvision.models import segmentation

from model.pretrained import downloading
from utils.base.errors import DanluError
from utils.base.registry import unknown_name
from utils.tasks.tasks import task_named

# Package of torchvision with the models for each task.
PACKAGES = {**dict.fromkeys(('classification', 'multilabel', 'regression'), models), 'segmentation': segmentation}


class SegmentationLogits(nn.Module):
    """A segmentation network of torchvision, `self.network`, that returns only the tensor 'out'."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, images):
        """Return the logits (N, num_classes, H, W) of float images (N, 3, H, W)."""
        return self.network(images)['out']


def torchvision_model(name, task, num_classes, in_channels=3, pretrained=False, image_size=None, **given):
    """Return a model of torchvision whose head has num_classes outputs, on the CPU.

    Args:
        name: torchvision's name, for example 'resnet18'.
        task: key of PACKAGES.
        num_classes: number of outputs; if equal to torchvision's own number, pretrained weights keep their head.
        in_channels: channels of the images; must be three.
        pretrained: load torchvision's best weights (ImageNet, COCO), downloaded once, with a new head.
        image_size: (height, width) of the images, needed by vision transformers; None: the model's own.
        given: other arguments of torchvision's constructor, such as dropout=0.5.

    Returns:
        nn.Module: takes float images (N, 3, H, W), returns logits (N, num_classes) or, for segmentation,
        (N, num_classes, H, W), without auxiliary outputs.

    Raises:
        DanluError: the name is unknown or belongs to another task, the model does not support such images, or the
            weights cannot be downloaded.
    """
    _check_name(name, task)
    if in_channels != 3:
        raise DanluError(f'torchvision:{name} takes images of 3 channels, not {in_channels}: add --channels 3')
    build = _segmentation if task_named(task).target == 'mask' else _classification
    try:
        return build(name, num_classes, pretrained, image_size, given)
    except TypeError as error:  # raised by torchvision's constructors for unknown arguments
        if 'unexpected keyword' not in str(error) or not given:
            raise
        raise DanluError(f'--model_args {" ".join(given)}: torchvision:{name} does not take that: {error}') from error


torchvision_model.tasks = tuple(PACKAGES)


def _check_name(name, task):
    """Refuse names unknown to torchvision, and models for other tasks."""
    if task not in PACKAGES:
        raise DanluError(f'torchvision has no models for --task {task}: choose {" or ".join(PACKAGES)}')
    fitting = models.list_models(PACKAGES[task])
    if name in fitting:
        return
    if name not in models.list_models():
        raise DanluError(unknown_name('torchvision model', name, fitting))
    kind = models.get_model_builder(name).__module__.split('.')[-2]  # torchvision.models.<kind>.<file>
    kind = 'classification' if kind == 'models' else kind
    raise DanluError(f'torchvision:{name} is a {kind} model, --task {task} takes one of: {", ".join(fitting)}')


def _classification(name, num_classes, pretrained, image_size, given):
    """Return a classification model; see torchvision_model."""
    weights = models.get_model_weights(name).DEFAULT
    options = _size_options(name, image_size, weights.meta['min_size']) | given
    if not pretrained:
        if name in ('googlenet', 'inception_v3'):
            # Auxiliary outputs would reach the loss as a tuple; the initialisation takes most of a minute.
            options.update(aux_logits=False, init_weights=False)
        return _build_sized(name, image_size, {'weights': None, 'num_classes': num_classes, **options}, given)
    with downloading(weights):
        model = _build_sized(name, image_size, {'weights': weights, **options}, given)
    if name == 'inception_v3':  # torchvision refuses aux_logits=False with weights
        model.aux_logits, model.AuxLogits = False, None
    heads = _output_layers(model, len(weights.meta['categories']))
    _replace_layers(model, heads[-1:], num_classes)
    return model


def _segmentation(name, num_classes, pretrained, _, given):
    """Return a segmentation model, for images of any size; see torchvision_model."""
    if not pretrained:
        # Both None explicitly, as torchvision downloads a backbone by default.
        network = models.get_model(name, weights=None, weights_backbone=None, num_classes=num_classes, **given)
        return SegmentationLogits(network)
    weights = models.get_model_weights(name).DEFAULT
    with downloading(weights):
        network = models.get_model(name, weights=weights, weights_backbone=None, **given)
    # The weights include the auxiliary classifier, whose unused parameters would never get a gradient.
    network.aux_classifier = None
    # All output layers, as LR-ASPP adds up two of them.
    _replace_layers(
        network.classifier, _output_layers(network.classifier, len(weights.meta['categories'])), num_classes
    )
    return SegmentationLogits(network)


def _size_options(name, image_size, smallest):
    """Return the keyword arguments (dict) for the image size, and refuse images that are too small."""
    if image_size is None:
        return {}
    height, width = image_size
    if name.startswith('vit'):
        if height != width:
            raise DanluError(f'torchvision:{name} takes square images: --image_size {height} {height}')
        return {'image_size': height}
    if name.startswith('maxvit'):
        return {'input_size': (height, width)}
    # For these two, torchvision's minimum is the training size; they work on smaller images.
    if not name.startswith(('swin', 'efficientnet')) and (height < smallest[0] or width < smallest[1]):
        raise DanluError(
            f'torchvision:{name}: --image_size {height} {width} is too small: the smallest is '
            f'{smallest[0]} {smallest[1]}'
        )
    return {}


def _build_sized(name, image_size, options, given):
    """Return torchvision's model; image sizes that a vision transformer does not support raise DanluError.

    With --model_args (`given`, dict) the cause may be one of these: select_model quotes the error then.
    """
    try:
        return models.get_model(name, **options)
    except (ValueError, AssertionError) as error:
        if image_size is None or given:
            raise
        height, width = models.get_model_weights(name).DEFAULT.meta['min_size']
        reason = str(error).split('\n', maxsplit=1)[0].rstrip('.!')
        raise DanluError(
            f'torchvision:{name} cannot be built for --image_size {image_size[0]} {image_size[1]}: {reason}; '
            f'it was made for --image_size {height} {width}'
        ) from error


def _output_layers(model, number):
    """Return the names (list of str) of linear and convolutional layers with `number` outputs, in order."""
    return [
        name
        for name, layer in model.named_modules()
        if (isinstance(layer, nn.Linear) and layer.out_features == number)
        or (isinstance(layer, nn.Conv2d) and layer.out_channels == number)
    ]


def _replace_layers(model, names, num_classes):
    """Replace the layers `names` of a model by new ones with num_classes outputs, unless they have as many."""
    for name in names:
        old = model.get_submodule(name)
        bias = old.bias is not None
        if isinstance(old, nn.Linear):
            if old.out_features == num_classes:
                continue
            new = nn.Linear(old.in_features, num_classes, bias=bias)
        else:
            if old.out_channels == num_classes:
                continue
            new = nn.Conv2d(old.in_channels, num_classes, old.kernel_size, bias=bias)
        parent, _, attribute = name.rpartition('.')
        setattr(model.get_submodule(parent), attribute, new)
