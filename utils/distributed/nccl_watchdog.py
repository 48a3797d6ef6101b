"""Ends NCCL operations that wait for a failed process.

NCCL waits in a kernel until the timeout, and the program waits for the kernel: signal handlers do not run meanwhile,
and torchrun kills the process after 30 seconds without an error in the log. Aborting the communicators ends the kernel,
and the next communication raises an error.
"""

import threading

CHECK_SECONDS, GRACE_SECONDS = 1.0, 5.0


class NcclWatchdog(threading.Thread):
    """A thread that watches for failed processes until `stop` is called.

    Args:
        has_failed: function() -> whether a process has failed (bool); RuntimeError if that is no longer known.
        free: function() that ends waiting operations.
        every: seconds between two checks.
        grace: seconds that this process has to end by itself.
    """

    def __init__(self, has_failed, free, every=CHECK_SECONDS, grace=GRACE_SECONDS):
        super().__init__(name='release', daemon=True)
        self.has_failed, self.free, self.every, self.grace = has_failed, free, every, grace
        self.over = threading.Event()

    def run(self):
        """Check until a process has failed; call `free` once if this process does not end within `grace`."""
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
        """End the thread; nothing happens after this returns."""
        self.over.set()
        if self.is_alive():
            self.join()
