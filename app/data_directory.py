"""One server a data directory: its embedded database and its temporary files bear no second one."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class DataDirectoryInUse(Exception):
    """Another server process runs on this data directory."""


@contextmanager
def exclusive(data_dir: Path) -> Iterator[None]:
    """Hold the directory for the block, making it if missing; a killed holder lets go of it.

    **Raises:** DataDirectoryInUse.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    with (data_dir / "server.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            message = f"{data_dir} is in use by another server; set LORA_API_DATA_DIR"
            raise DataDirectoryInUse(message) from error
        yield
