"""Logs say where an error arose, and nothing of what the code held there."""

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from app.observability.logs import configure_logs

KEY = "gsk_" + "A" * 52


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def fail_with_a_secret_at_hand() -> None:
    authorization = f"Bearer {KEY}"
    raise RuntimeError(f"failed after {len(authorization)} characters")


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_traceback_shows_no_local_variable(
    log_format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logs(log_format, "info")
    log = structlog.get_logger("test")
    try:
        fail_with_a_secret_at_hand()
    except RuntimeError:
        log.exception("request failed")

    line = capsys.readouterr().err
    assert "fail_with_a_secret_at_hand" in line
    assert "failed after 63 characters" in line
    assert "gsk_" not in line


def test_a_json_line_is_one_object_and_levels_are_kept(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("json", "warning")
    logging.getLogger("elsewhere").info("quiet")
    logging.getLogger("elsewhere").warning("loud")

    (line,) = capsys.readouterr().err.splitlines()
    record = json.loads(line)
    assert (record["event"], record["level"], record["logger"]) == ("loud", "warning", "elsewhere")
