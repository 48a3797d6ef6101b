"""Names of the models of torchvision and timm, read from source without importing: for "did you mean" hints."""

import importlib.util
import re
from pathlib import Path

from utils.base.regular_files import read_regular_text
from utils.base.synonyms import normalised_name

# Both libraries register a model by a decorator above its function, which may give another name.
MODEL = re.compile(r'^@register_model(?:\((?:name=["\']([^"\']+)["\'])?\))?$.*?^def (\w+)', re.MULTILINE | re.DOTALL)


def in_libraries(name, prefixes):
    """Return the models called `name` in the libraries behind `prefixes`: ['torchvision:resnet18', 'timm:resnet18'].

    Args:
        name: in any spelling, such as ResNet-18.
        prefixes: strings such as 'torchvision:', the name of a package and a colon. It need not be installed.
    """
    wanted = normalised_name(name.rpartition(':')[2])
    return [
        f'{prefix}{model}'
        for prefix in prefixes
        for model in models_of(prefix.rstrip(':'))
        if normalised_name(model) == wanted
    ]


def models_of(package):
    """Return the names of the models (list of str) that the files in `models` of a package register."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return []
    files = sorted(Path(spec.submodule_search_locations[0], 'models').rglob('*.py'))
    found = [match for file in files for match in MODEL.finditer(read_regular_text(file))]
    return [match[1] or match[2] for match in found]
