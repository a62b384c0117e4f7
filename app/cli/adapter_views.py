"""Adapters in a terminal of 80 columns: what may be longer, such as an id, is never cut."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from app.cli.formats import moment, size
from app.cli.http_client import printable

Adapter = Mapping[str, Any]
"""An item of `GET /v1/fine_tunings`."""

STYLES = {"active": "green", "failed": "red"}


def print_models(adapters: Sequence[Adapter]) -> None:
    """Print model ids, each on a line of its own, and below each what it is."""
    for adapter in adapters:
        _line(adapter["fine_tuned_model"] or _subject(adapter))
        _facts(adapter, moment(adapter["created_at"]), *_dimensions(adapter))
        if adapter["active"]:
            _line(f"  alias {adapter['alias']}", style="dim")
        if error := adapter.get("error"):
            _line(f"  {error['code']}", style="dim")


def print_status(adapters: Sequence[Adapter]) -> None:
    """Print the versions of each name, newest first, where they came from, and why some failed."""
    for adapter in _by_name(adapters):
        _entry(adapter, adapter["source"], moment(adapter["created_at"]))


def print_versions(adapters: Sequence[Adapter]) -> None:
    """Print the versions of a name, newest first, for each base model by itself."""
    for adapter in _by_name(adapters):
        _entry(adapter, moment(adapter["created_at"]), *_dimensions(adapter))


def _by_name(adapters: Sequence[Adapter]) -> Iterator[Adapter]:
    """Give them by name and base model, and print the alias above those that share it."""
    groups = groupby(sorted(adapters, key=_group), _group)
    for position, (_, found) in enumerate(groups):
        members = list(found)
        if position:
            _line("")
        aliases = (member["alias"] for member in members if "alias" in member)
        _line(next(aliases, _subject(members[0])), style="bold")
        yield from members


def _entry(adapter: Adapter, *facts: str) -> None:
    _facts(adapter, *facts)
    if model := adapter["fine_tuned_model"]:
        _line(f"    {model}")
    if pinned_until := adapter.get("pinned_until"):
        _line(f"    pinned until {moment(pinned_until)}")
    if error := adapter.get("error"):
        for text in filter(None, (adapter.get("path"), error["code"], error.get("param"))):
            _line(f"    {text}")
        _paragraph(error["message"])


def _facts(adapter: Adapter, *more: str) -> None:
    status = Text(f"{_status(adapter):6}", _style(adapter))
    rest = [Text(printable(text)) for text in more]
    facts = Text("  ").join([Text(f"  {adapter['id']}"), status, *rest])
    Console().print(facts, soft_wrap=True)


def _line(text: str, style: str | None = None) -> None:
    Console().print(printable(text), style=style, markup=False, highlight=False, soft_wrap=True)


def _paragraph(text: str) -> None:
    words = Text(printable(text), overflow="fold")
    Console().print(Padding(words, (0, 0, 0, 4), expand=False))


def _group(adapter: Adapter) -> tuple[str, str]:
    return adapter["name"], adapter["base_model"]


def _subject(adapter: Adapter) -> str:
    return f"{adapter['name']} on {adapter['base_model']}"


def _status(adapter: Adapter) -> str:
    return "active" if adapter["active"] else str(adapter["status"])


def _style(adapter: Adapter) -> str:
    return STYLES.get(_status(adapter), "")


def _dimensions(adapter: Adapter) -> tuple[str, ...]:
    if "error" in adapter:
        return ()
    return f"rank {adapter['rank']}", size(adapter["bytes"])
