"""Batches in a terminal of 80 columns: what may be longer, such as a message, is never cut."""

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.text import Text

from app.cli.batch_client import Batch
from app.cli.batch_progress import duration
from app.cli.formats import minute, moment
from app.cli.http_client import printable

HEADER = ("id", "status", "done/lines", "created (UTC)")
ENDED = ("completed", "failed", "expired", "cancelled")
STYLES = {"completed": "green", "failed": "red", "expired": "yellow", "cancelled": "yellow"}
TIMES = (
    "created_at",
    "in_progress_at",
    "finalizing_at",
    "completed_at",
    "failed_at",
    "cancelling_at",
    "cancelled_at",
    "expired_at",
    "expires_at",
)


def print_batches(batches: Sequence[Batch]) -> None:
    """Print a line for each, below a line that says what its parts are."""
    rows = [_cells(batch) for batch in batches]
    widths = [max(map(len, column)) for column in zip(HEADER, *rows, strict=True)]
    heads = (head.ljust(width) for head, width in zip(HEADER, widths, strict=True))
    _print(Text("  ".join(heads).rstrip(), style="dim"))
    for batch, row in zip(batches, rows, strict=True):
        id, status, *rest = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        style = STYLES.get(batch["status"], "")
        _print(Text("  ").join([Text(id), Text(status, style), *map(Text, rest)]))


def print_batch(batch: Batch) -> None:
    """Print all that is known of one, a fact a line."""
    width = max(len(name) for name, _ in _facts(batch))
    for name, value in _facts(batch):
        _print(Text.assemble((f"{name:{width}}  ", "dim"), printable(value)))
    for line in problems(batch):
        _print(Text(line, style="red"))


def problems(batch: Batch) -> Iterator[str]:
    """Give what is wrong with the input of a batch that failed, a line of text each."""
    for error in (batch["errors"] or {}).get("data", ()):
        place = "input file" if error.get("line") is None else f"line {error['line']}"
        yield printable(f"{place}: {error['code']}: {error['message']}")


def summary(batch: Batch) -> str:
    """Say in one line how a batch ended."""
    counts, ended_at = batch["request_counts"], batch.get(f"{batch['status']}_at")
    parts = [f"{batch['id']} {batch['status']}"]
    if ended_at is not None:
        parts[0] += f" after {duration(ended_at - batch['created_at'])}"
    if counts["total"]:
        parts.append(f"{counts['completed']:,} of {counts['total']:,} lines succeeded")
    if counts["failed"]:
        parts.append(f"{counts['failed']:,} failed")
    return ", ".join(parts)


def _cells(batch: Batch) -> tuple[str, ...]:
    counts, made = batch["request_counts"], minute(batch["created_at"])
    done = f"{counts['completed'] + counts['failed']:,}/{counts['total']:,}"
    return batch["id"], batch["status"], done, made


def _facts(batch: Batch) -> list[tuple[str, str]]:
    counts = batch["request_counts"]
    facts = [
        ("id", batch["id"]),
        ("status", batch["status"]),
        ("endpoint", batch["endpoint"]),
        ("window", batch["completion_window"]),
        ("lines", f"{counts['total']:,}"),
        ("succeeded", f"{counts['completed']:,}"),
        ("failed", f"{counts['failed']:,}"),
    ]
    facts += [
        (name.removesuffix("_id").replace("_", " "), batch[name])
        for name in ("input_file_id", "output_file_id", "error_file_id")
        if batch.get(name)
    ]
    facts += [
        (name.removesuffix("_at").replace("_", " "), moment(batch[name]))
        for name in TIMES
        if batch.get(name) is not None
    ]
    return facts + [(f"metadata {key}", value) for key, value in (batch["metadata"] or {}).items()]


def _print(text: Text) -> None:
    Console().print(text, soft_wrap=True)
