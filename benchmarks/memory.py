"""Peak memory of processes, as Linux counts it."""

from collections.abc import Iterable, Iterator
from pathlib import Path

KIB = 1024
RESET_PEAK = "5"
"""**Source:** proc(5), /proc/pid/clear_refs."""


def with_children(pid: int) -> list[int]:
    """Return the process and all its descendants."""
    found = [pid]
    for each in found:  # grows while it is read
        found += _children(each)
    return found


def forget_peaks(pids: Iterable[int]) -> None:
    """Let each process's peak begin anew from what it holds now."""
    for pid in pids:
        Path(f"/proc/{pid}/clear_refs").write_text(RESET_PEAK)


def peak_bytes(pid: int) -> int:
    """Return the most memory that the process held at once since its peak was last forgotten."""
    return _status(pid, "VmHWM")


def resident_bytes(pid: int) -> int:
    """Return the memory that the process holds now."""
    return _status(pid, "VmRSS")


def _status(pid: int, key: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == key:
            return int(value.split()[0]) * KIB
    raise LookupError(f"process {pid} tells no {key}")


def _children(pid: int) -> Iterator[int]:
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        yield from map(int, task.read_text().split())
