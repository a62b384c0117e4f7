"""Installs the pinned locks into the interpreter that runs it, with one readable line of progress.

Standard library only: it runs before anything is installed. pip's own output goes to a log file.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, Thread

# Tried only where pip, as it is configured, does not find the CPU build of torch.
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
TORCH_MISSING = "No matching distribution found for torch=="
TAIL_LINES = 15
# pip lists its requirements first and is then silent while it unpacks them.
LISTED = ("Collecting ", "Requirement already satisfied: ")
UNPACKING = "Installing collected packages"


class Progress:
    """What pip is doing: redrawn in place on a terminal, a line every ten seconds elsewhere."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._count = 0
        self._what = "resolving"
        self._started = time.monotonic()
        self._is_terminal = sys.stdout.isatty()

    def see(self, line: str) -> None:
        """Take note of one line of pip's output."""
        if line.startswith(LISTED):
            self._count += 1
            name = line.split(": ")[-1].removeprefix("Collecting ").split(" ")[0]
            self._what = f"{self._count}/{self._total} {name.strip()}"
        elif line.startswith(UNPACKING):
            self._what = f"unpacking {self._total} packages"

    def beat_until(self, finished: Event) -> None:
        """Show the state until `finished` is set."""
        while not finished.wait(0.2 if self._is_terminal else 10.0):
            text = f"  {time.monotonic() - self._started:4.0f} s  {self._what}"
            start, end = ("\r\033[K", "") if self._is_terminal else ("", "\n")
            print(f"{start}{text}", end=end, flush=True)
        if self._is_terminal:
            print("\r\033[K", end="", flush=True)


def install(locks: list[Path], log: Path) -> int:
    """Install the locks, with PyTorch's own index as a second try; return pip's exit status."""
    requirements = [part for lock in locks for part in ("-r", str(lock))]
    total = sum(lock.read_text().count("--hash=") for lock in locks)
    print(f"Installing {total} pinned packages into {sys.prefix} …", flush=True)
    status = _pip([*requirements], log, total)
    if status and TORCH_MISSING in log.read_text():
        print(f"torch's CPU build is not where pip looks; trying {TORCH_CPU_INDEX}", flush=True)
        status = _pip([*requirements, "--extra-index-url", TORCH_CPU_INDEX], log, total)
    return status


def install_project(log: Path) -> int:
    """Install this project itself, editable; return pip's exit status."""
    return _pip(["--no-build-isolation", "--editable", "."], log, 1)


def _pip(arguments: list[str], log: Path, total: int) -> int:
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-input"]
    quiet = ["--disable-pip-version-check", "--progress-bar", "off"]
    progress, finished = Progress(total), Event()
    beat = Thread(target=progress.beat_until, args=(finished,))
    beat.start()
    try:
        return _run([*command, *quiet, *arguments], log, progress.see)
    finally:
        finished.set()
        beat.join()


def _run(command: list[str], log: Path, see: Callable[[str], None]) -> int:
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as pip:
        with log.open("w") as copy:
            for line in _lines(pip):
                copy.write(line)
                see(line)
        return pip.wait()


def _lines(pip: subprocess.Popen[str]) -> Iterator[str]:
    if pip.stdout is not None:
        yield from pip.stdout


def main() -> int:
    """Install the named lock files, then the project in the current directory."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("locks", nargs="+", type=Path)
    locks = parser.parse_args().locks
    log = Path(sys.prefix) / "install.log"
    started = time.monotonic()
    status = install(locks, log) or install_project(log)
    if status:
        print("\n".join(log.read_text().splitlines()[-TAIL_LINES:]), file=sys.stderr)
        print(f"pip failed; all it said is in {log}", file=sys.stderr)
        return status
    print(f"Installed in {time.monotonic() - started:.0f} s.", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
