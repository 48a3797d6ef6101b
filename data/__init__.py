"""Data sets, loaders and augmentation.

- array: Tables of numbers from .csv and .npz files
- augment: The registry of augmentations, and random transforms of batches
- auto_augment: RandAugment and TrivialAugment
- build_dataset: Building a data set with the arguments that its constructor takes
- data_entry: The registry of data sets, and the loaders
- digits: The bundled digits, with and without noise
- folder: One directory per class
- list_dataset: Images named by a list file
- loader: Batches from memory, threads or worker processes
- mem_list: A list file whose images are decoded once
- mixing: mixup and CutMix
- predicting: Predictions for single images, batches and loaders
- ready_made: Loaders and data sets passed as objects
- samplers: Which samples make up which batch
- shared_buffers: Shared memory for the batches of worker processes
- stream: Shards that are read from front to back
- tensor_dataset: Data sets held as one tensor
- torchvision_data: MNIST, Fashion-MNIST, CIFAR-10 and CIFAR-100
- unlabelled: Data without targets for --predict
"""
