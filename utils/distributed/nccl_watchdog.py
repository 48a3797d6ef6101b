"""Frees a process that waits on a GPU for another one, which has failed.

NCCL waits within a kernel, for as long as processes are given to be slow, and the program for that kernel: no handler
of a signal is called meanwhile, and torchrun kills it after 30 seconds, without a word in the log. Without its
communicators the kernel ends, and whatever the program asks of the other processes next says that these have gone.
"""

import threading

CHECK_SECONDS, GRACE_SECONDS = 1.0, 5.0  # seconds between two looks, and to end without help


class NcclWatchdog(threading.Thread):
    """Watches, as a thread of its own, until `stop` is called.

    Args:
        has_failed: function() -> whether some process has failed (bool); RuntimeError where nobody knows any more.
        free: function() that ends what waits.
        every, grace: seconds.
    """

    def __init__(self, has_failed, free, every=CHECK_SECONDS, grace=GRACE_SECONDS):
        super().__init__(name='release', daemon=True)
        self.has_failed, self.free, self.every, self.grace = has_failed, free, every, grace
        self.over = threading.Event()

    def run(self):
        """Look again and again; free the process once if another one has failed and this one does not end."""
        while not self.over.wait(self.every):
            try:
                failed = self.has_failed()
            except RuntimeError:
                return
            if failed:
                if not self.over.wait(self.grace):
                    self.free()
                return

    def stop(self):
        """End watching; it does nothing any more once this has returned."""
        self.over.set()
        if self.is_alive():
            self.join()
