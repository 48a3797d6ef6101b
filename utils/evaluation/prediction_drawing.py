"""Images with their predictions, for samples without targets: --predict with --save_viz."""

from utils import viz
from utils.tasks.tasks import task_of


def draw_predictions(engine, images, outputs, results, places):
    """Return one image per sample (list of uint8 arrays (H, W, 3)): the input with its prediction.

    Args:
        engine: utils.training.engine.Engine.
        images, outputs: (B, ...) of the samples, as Engine.step returns them.
        results: utils.evaluation.unlabelled_results.Results.
        places: positions of the samples in `results` (list of int).
    """
    args, kind = engine.args, task_of(engine.args).target
    pixels = viz.drawable(viz.input_pixels(images, args))
    if kind == 'mask':
        return [_mask_panel(engine, *sample) for sample in zip(pixels, outputs.max(1).indices.cpu(), strict=True)]
    if kind == 'picture':
        restored = viz.drawable(viz.denormalise(outputs, [0.0], [1.0]))
        pairs = zip(pixels, restored, strict=True)
        return [viz.panel({'input': viz.rgb_of(image), 'output': viz.rgb_of(output)}) for image, output in pairs]
    texts = [results.text(place).split(', ') for place in places]
    return [
        viz.captioned(viz.enlarged(viz.rgb_of(image)), [(line, viz.INK) for line in lines])
        for image, lines in zip(pixels, texts, strict=True)
    ]


def _mask_panel(engine, image, mask):
    """Return input, mask and overlay side by side, with a legend."""
    rgb, colours = viz.rgb_of(image), engine.colours
    painted = viz.colour_mask(mask, colours)
    panel = viz.panel({'input': rgb, 'prediction': painted, 'overlay': viz.overlay(image, mask, colours)})
    return viz.with_legend(panel, colours, engine.args.class_names, mask.unique().tolist())
