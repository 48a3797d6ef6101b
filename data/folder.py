"""Pictures in a directory with one sub-directory per class."""

from data.labels import folder_names
from data.list_dataset import ListDataset
from data.listing import read_folder


class Folder(ListDataset):
    """As ListDataset; train_list and val_list are directories, and their sub-directories' names are the classes."""

    names_of = staticmethod(folder_names)

    @staticmethod
    def read(path, root=None, faults=None, many=False):
        """Return the Listing of a directory."""
        return read_folder(path, faults)
