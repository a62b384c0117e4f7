"""What batches look like in a terminal of 80 columns."""

import re
from typing import Any

import pytest

from app.cli.batch_views import print_batch, print_batches, problems, summary

ID = "batch_01jh6xa7reempvjyh6n3yst2zw"
CREATED_AT = 1_763_848_800
"""2025-11-22 22:00 UTC."""


def batch(
    status: str = "in_progress", *, counts: tuple[int, int, int] = (0, 0, 0), **more: Any
) -> dict[str, Any]:
    completed, failed, total = counts
    return {
        "id": ID,
        "object": "batch",
        "endpoint": "/v1/chat/completions",
        "errors": None,
        "input_file_id": "file_01jh6x76wtemjr74t1fh0faj5t",
        "completion_window": "24h",
        "status": status,
        "output_file_id": None,
        "error_file_id": None,
        "created_at": CREATED_AT,
        "expires_at": CREATED_AT + 86_400,
        "in_progress_at": None,
        "request_counts": {"completed": completed, "failed": failed, "total": total},
        "metadata": None,
        **more,
    }


@pytest.fixture(autouse=True)
def columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def test_a_list_has_columns_and_fits(capsys: pytest.CaptureFixture[str]) -> None:
    print_batches([batch(counts=(12_000, 345, 50_000)), batch("failed")])
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "id                                status       done/lines     created (UTC)",
        f"{ID}  in_progress  12,345/50,000  2025-11-22 22:00",
        f"{ID}  failed       0/0            2025-11-22 22:00",
    ]
    assert all(len(line) <= 80 for line in lines)


def test_one_batch_is_shown_with_all_that_it_has_and_nothing_else(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_batch(
        batch(
            "completed",
            counts=(2, 1, 3),
            output_file_id="file_out",
            completed_at=CREATED_AT + 60,
            metadata={"job": "nightly\x1b[2J"},
        )
    )
    lines = capsys.readouterr().out.splitlines()
    assert [re.split("  +", line) for line in lines] == [
        ["id", ID],
        ["status", "completed"],
        ["endpoint", "/v1/chat/completions"],
        ["window", "24h"],
        ["lines", "3"],
        ["succeeded", "2"],
        ["failed", "1"],
        ["input file", "file_01jh6x76wtemjr74t1fh0faj5t"],
        ["output file", "file_out"],
        ["created", "2025-11-22 22:00 UTC"],
        ["completed", "2025-11-22 22:01 UTC"],
        ["expires", "2025-11-23 22:00 UTC"],
        ["metadata job", "nightly\ufffd[2J"],
    ]


def test_problems_name_their_line() -> None:
    data = [
        {"code": "invalid_method", "message": "No\x1b.", "param": "method", "line": 4},
        {"code": "empty_file", "message": "It is empty.", "param": None, "line": None},
    ]
    told = list(problems(batch("failed", errors={"object": "list", "data": data})))
    assert told == ["line 4: invalid_method: No\ufffd.", "input file: empty_file: It is empty."]
    assert list(problems(batch())) == []


@pytest.mark.parametrize(
    ("ended", "told"),
    [
        (
            batch("completed", counts=(1200, 0, 1200), completed_at=CREATED_AT + 83),
            "completed after 0:01:23, 1,200 of 1,200 lines succeeded",
        ),
        (
            batch("cancelled", counts=(1, 4, 5), cancelled_at=CREATED_AT + 7200),
            "cancelled after 2:00:00, 1 of 5 lines succeeded, 4 failed",
        ),
        (batch("failed", failed_at=CREATED_AT), "failed after 0:00:00"),
    ],
)
def test_a_summary_is_one_line(ended: dict[str, Any], told: str) -> None:
    assert summary(ended) == f"{ID} {told}"
