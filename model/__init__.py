"""Networks, one package per model family.

- argument_ranges: Ranges of the arguments of a model's constructor
- fitting: Which models serve which task and data
- model_entry: The registry of models, and building one
- parameter_memory: Refusing networks too large for the memory
- pretrained: Downloading pretrained weights
- submodules: Blocks shared by several models
- timm_models: Models of timm
- torchvision_models: Models of torchvision
"""
