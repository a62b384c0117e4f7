"""The vLLM plugin that ends an engine process when the process that started it is gone.

vLLM's EngineCore waits on its sockets for ever: where the server is killed, it would stay, with the
model's memory. Nothing is asked of whoever is killed, and nothing is done in the first process.
"""

import multiprocessing
import os
import signal
import threading
from multiprocessing import connection, process

_begun = threading.Lock()


def register() -> None:
    """Watch the parent from a thread of this process; calling it again changes nothing.

    The kernel's own signal (PR_SET_PDEATHSIG) would come as soon as the thread that started this
    process ends. **Source:** vllm.plugins.load_general_plugins (0.32), which EngineCore and the
    workers call before they load a model, and which may call this more than once.
    """
    parent = multiprocessing.parent_process()
    if parent is None or not _begun.acquire(blocking=False):
        return
    threading.Thread(target=_end_with, args=[parent], name="parent watch", daemon=True).start()


def _end_with(parent: process.BaseProcess) -> None:
    connection.wait([parent.sentinel])
    # At once, whatever the other threads do: nobody is left who could use their work.
    os.kill(os.getpid(), signal.SIGKILL)
