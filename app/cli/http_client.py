"""How `lora-api adapters` talks to a server: what goes wrong is told, and ends the command."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import httpx
import typer
from rich.console import Console

REQUEST_SECONDS = 600.0

console = Console(stderr=True)


@contextmanager
def connected(base_url: str, api_key: str) -> Iterator[httpx.Client]:
    """Give a client of one server. **Raises:** typer.Exit 1 where it does not answer."""
    headers = {"authorization": f"Bearer {api_key}"}
    try:
        with httpx.Client(base_url=base_url, headers=headers, timeout=REQUEST_SECONDS) as client:
            yield client
    except httpx.InvalidURL as error:
        fail(f"{base_url} is no address of a server: {error}")
    except httpx.TransportError as error:
        fail(f"{base_url} does not answer: {error}")


def answer(response: httpx.Response) -> dict[str, Any]:
    """Return the body. **Raises:** typer.Exit 1, after showing why the server refused."""
    try:
        body = response.json()
    except ValueError:
        body = None
    if response.is_success and isinstance(body, dict):
        return body
    try:
        error = dict(body["error"])
        message = str(error["message"])
    except (KeyError, TypeError, ValueError):
        fail(f"the server answered {response.status_code}, and no JSON that this command knows")
    fail(message, code=error.get("code"), param=error.get("param"))


def fail(message: str, *, code: str | None = None, param: str | None = None) -> NoReturn:
    """Say what is wrong, by which rule and where, and end the command with status 1."""
    show(f"Error: {message}", style="red")
    for name, value in (("code", code), ("param", param)):
        if value:
            show(f"{name}: {value}")
    raise typer.Exit(1)


def show(text: str, style: str | None = None) -> None:
    """Print beside the output proper, as it is: no markup, and no line break within a word."""
    console.print(printable(text), style=style, markup=False, highlight=False, soft_wrap=True)


def printable(text: str) -> str:
    """Take the control characters out: names of tensors and directories may hold any."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)
