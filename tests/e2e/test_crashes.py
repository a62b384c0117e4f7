"""A service that is killed, fails or is told to stop at any step leaves nothing half done."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.crash_points import FAULTS

STEPS = {"register": 40, "delete": 15, "call": 12}
"""How many steps each operation has at least; fewer, and the steps are not seen."""
CASES = [("call", "kill"), *((one, fault) for one in ("register", "delete") for fault in FAULTS)]


def stop_at_each_step(operation: str, fault: str, room: Path) -> tuple[int, dict[str, list[str]]]:
    """Return the number of steps, and what was wrong after a stop at which."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.e2e.crash_points", operation, fault, room],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads(done.stdout.splitlines()[-1])
    return found["steps"], found["problems"]


@pytest.mark.parametrize(("operation", "fault"), CASES)
def test_an_operation_stopped_at_any_step_leaves_a_whole_state(
    tmp_path: Path, operation: str, fault: str
) -> None:
    steps, problems = stop_at_each_step(operation, fault, tmp_path)

    assert problems == {}
    assert steps >= STEPS[operation]


def test_a_version_that_loses_its_artifact_before_its_row_is_found_out(tmp_path: Path) -> None:
    steps, problems = stop_at_each_step("wrong", "kill", tmp_path)

    assert steps > 4
    assert ["mine is answered with 404"] in [sorted(set(found)) for found in problems.values()]
