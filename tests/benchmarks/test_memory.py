import subprocess
import sys

from benchmarks.memory import forget_peaks, peak_bytes, resident_bytes, with_children

MANY = 64 << 20
CHILD = f"""
import subprocess, sys
taken = b"x" * {MANY}
del taken
below = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
print("ready", flush=True)
input()
below.communicate()
"""


def test_peaks_are_told_of_a_process_and_its_children_and_can_be_forgotten() -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdin is not None
    assert child.stdout is not None
    with child.stdin, child.stdout:
        child.stdout.readline()

        assert len(with_children(child.pid)) == 2
        assert peak_bytes(child.pid) > MANY > resident_bytes(child.pid)
        forget_peaks(with_children(child.pid))
        assert peak_bytes(child.pid) < MANY
        child.kill()
        child.wait()
