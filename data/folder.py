"""Images in a directory with one sub-directory per class."""

import os

from data.list_dataset import ListDataset
from data.lists.labels import folder_names
from data.lists.list_file import read_folder, read_list


class Folder(ListDataset):
    """As ListDataset, for directories train_list and val_list whose sub-directories are the classes."""

    names_of = staticmethod(folder_names)

    @staticmethod
    def read(path, root=None, faults=None, many=False):
        """Return the Listing of a directory, or of a list that --val_split wrote for a directory."""
        return read_list(path, root, faults) if os.path.isfile(path) else read_folder(path, faults)
