"""The bytes that a run reads: collected from all processes, recorded after each epoch, compared where it is resumed."""

from utils.distributed import processes
from utils.provenance.contents import DATA_OF_SPLIT, SampleHashes, contents_file

NEW_EXPERIMENT = 'the run continues with the change and counts as another experiment'


class ContentsLog:
    """The contents of the training and validation data of a run.

    Only rank 0 keeps and writes them; the others send what they read. Data in memory is read whole by each process.

    Attributes:
        hashes: SampleHashes by split.
    """

    def __init__(self):
        self.hashes = {}

    def resume(self, directory, then, now):
        """Read the hashes of an interrupted run, which the samples read from now on are compared with.

        Args:
            directory: of the run.
            then, now: records (dict) of the interrupted and of the resumed run. Where names or order of the samples
                differ, the samples are not compared, as the record says so.
        """
        for split in DATA_OF_SPLIT:
            before, after = (record.get('data', {}).get(split) or {} for record in (then, now))
            names = (before.get('parts') or {}).get('names')
            known = SampleHashes.read(contents_file(directory, split))
            if known is not None and names == (after.get('parts') or {}).get('names'):
                self.hashes[split] = known

    def start(self, loaders):
        """Add data that is in memory and therefore known at the start; `loaders` as for `collect`."""
        for split, loader in loaders.items():
            if getattr(loader, 'reads_all_at_start', False):
                self.hashes.setdefault(split, SampleHashes()).add(*loader.contents().items())

    def collect(self, loaders):
        """Add what all processes have read since the last call; all processes must call this.

        Args:
            loaders: data.loader.Loader by split (dict); other objects, or None, have no known contents.
        """
        for split, loader in loaders.items():
            if hasattr(loader, 'take_contents') and not loader.reads_all_at_start:
                for items in processes.all_gather(loader.take_contents().items()):
                    if processes.is_first():
                        self.hashes.setdefault(split, SampleHashes()).add(*items)

    def update(self, record, loaders, directory):
        """Write new hashes, and what the record holds of them; return lines (list of str) on samples that changed.

        Args:
            record: utils.provenance.record.Record of the run.
            loaders: as for `collect`.
            directory: of the run.
        """
        found, changes = {}, []
        for split, hashes in self.hashes.items():
            if difference := hashes.take_changes():
                changes.append(f'the {DATA_OF_SPLIT[split]}: {difference.text(loaders[split])}')
            if hashes.has_news:
                hashes.write(contents_file(directory, split))
                found[split] = hashes.record()
            hashes.has_news = False
        if found:
            record.add_contents(found, bool(changes), directory)
        return [f'changed since the run began: {change}; {NEW_EXPERIMENT}' for change in changes]
