"""Adapters in a terminal: each table fits 80 columns, and no id is ever cut."""

import datetime
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from app.cli.http_client import printable

Adapter = Mapping[str, Any]
"""An item of `GET /v1/fine_tunings`."""

STYLES = {"active": "green", "failed": "red"}
VERSION_DIGITS = 12


def print_models(adapters: Sequence[Adapter]) -> None:
    """Print model ids, each on a line of its own, and below each what it is."""
    for adapter in adapters:
        _line(adapter["fine_tuned_model"] or f"{adapter['name']} on {adapter['base_model']}")
        facts = (adapter["id"], f"{_status(adapter):6}", _day(adapter), *_details(adapter))
        _line("  " + "  ".join(facts), style="dim")


def print_status(adapters: Sequence[Adapter]) -> None:
    """Print a row for each version, by name and newest first, and then why others failed."""
    table = _table("name", "base model", "version", "status", "pinned (UTC)")
    for adapter in sorted(adapters, key=_group):
        name, base_model = (Text(printable(part)) for part in _group(adapter))
        table.add_row(name, base_model, _version(adapter), _state(adapter), _pinned(adapter))
    Console().print(Group(table, *_verdicts(adapters)))


def print_versions(adapters: Sequence[Adapter]) -> None:
    """Print the versions of a name, newest first, one table for each base model."""
    for (name, base_model), found in groupby(sorted(adapters, key=_group), _group):
        versions = list(found)
        aliases = [version["alias"] for version in versions if "alias" in version]
        _line(aliases[0] if aliases else f"{name} on {base_model}", style="bold")
        table = _table("id", "version", "status", "pinned (UTC)", "registered")
        for version in versions:
            cells = (_version(version), _state(version), _pinned(version), _day(version))
            table.add_row(version["id"], *cells)
        Console().print(Group(table, *_verdicts(versions), ""))


def moment(seconds: int) -> str:
    """Write a time in UTC, to the minute."""
    return _utc(seconds).strftime("%Y-%m-%d %H:%M UTC")


def _verdicts(adapters: Sequence[Adapter]) -> Iterator[RenderableType]:
    for adapter in adapters:
        if error := adapter.get("error"):
            head = printable(f"{adapter['name']} on {adapter['base_model']}: {error['code']}")
            yield Text(f"\n{head}", STYLES["failed"])
            for text in filter(None, (error.get("param"), error["message"])):
                yield Padding(Text(printable(text), overflow="fold"), (0, 0, 0, 2), expand=False)


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column not in ("name", "base model"))
    return table


def _line(text: str, style: str | None = None) -> None:
    Console().print(printable(text), style=style, markup=False, highlight=False, soft_wrap=True)


def _group(adapter: Adapter) -> tuple[str, str]:
    return adapter["name"], adapter["base_model"]


def _version(adapter: Adapter) -> str:
    return str(adapter.get("digest", ""))[:VERSION_DIGITS]


def _status(adapter: Adapter) -> str:
    return "active" if adapter["active"] else str(adapter["status"])


def _state(adapter: Adapter) -> Text:
    status = _status(adapter)
    return Text(status, STYLES.get(status, ""))


def _pinned(adapter: Adapter) -> str:
    until = adapter.get("pinned_until")
    return "" if until is None else _utc(until).strftime("%b %d %H:%M")


def _details(adapter: Adapter) -> tuple[str, ...]:
    if error := adapter.get("error"):
        return (error["code"],)
    return (f"rank {adapter['rank']}", f"{adapter['bytes'] / 1e6:.1f} MB")


def _day(adapter: Adapter) -> str:
    return _utc(adapter["created_at"]).strftime("%Y-%m-%d")


def _utc(seconds: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)
