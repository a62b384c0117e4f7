"""What this process holds open, of one directory: of others, what else runs here may open some."""

import os
from contextlib import suppress
from pathlib import Path

DESCRIPTORS = Path("/proc/self/fd")


def open_below(directory: Path) -> list[str]:
    """Return the paths of the open files and directories below `directory`, deleted ones too."""
    paths = []
    for descriptor in DESCRIPTORS.iterdir():
        with suppress(FileNotFoundError):
            paths.append(os.readlink(descriptor))
    return sorted(path for path in paths if path.startswith(str(directory.resolve())))
