"""How a model's directory comes to stand: whole or not at all, once, whoever asks first."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from deploy.quickstart.progress import task


def built(destination: Path, description: str, fill: Callable[[Path], None]) -> Path:
    """Return `destination`; where it does not stand yet, let `fill` write into it first.

    `fill` gets an empty directory beside the destination, which takes its place at the end.
    """
    if destination.is_dir():
        return destination
    parent, name = destination.parent, destination.name
    parent.mkdir(parents=True, exist_ok=True)
    with (
        task(description),
        tempfile.TemporaryDirectory(prefix=f".{name}-", dir=parent) as directory,
    ):
        complete = Path(directory) / name
        complete.mkdir()
        fill(complete)
        _publish(complete, destination)
    return destination


def _publish(complete: Path, destination: Path) -> None:
    try:
        complete.rename(destination)
    except OSError:
        # Another process was first: a directory that is not empty is never replaced.
        if not destination.is_dir():
            raise
