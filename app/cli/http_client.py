"""How commands talk to a server over HTTP: what goes wrong is told, and ends the command."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, BinaryIO, NoReturn

import httpx
import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

BaseUrl = Annotated[str, typer.Option(envvar="LORA_API_BASE_URL", help="The server's address.")]
Key = Annotated[str, typer.Option(envvar="LORA_API_KEY", help="API key.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
DEFAULT_URL = "http://127.0.0.1:8000"

REQUEST_SECONDS = 600.0
KEY = re.compile(r"[!-~]+")
"""What a header can carry: httpx names the whole value where it refuses one."""

console = Console(stderr=True)


@contextmanager
def connected(base_url: str, api_key: str) -> Iterator[httpx.Client]:
    """Give a client of one server. **Raises:** typer.Exit 1 where it does not answer."""
    if not KEY.fullmatch(api_key):
        fail("The API key is empty, or holds a space or another character that no key has.")
    headers = {"authorization": f"Bearer {api_key}"}
    try:
        with httpx.Client(base_url=base_url, headers=headers, timeout=REQUEST_SECONDS) as client:
            if client.base_url.scheme not in ("http", "https") or not client.base_url.host:
                raise httpx.InvalidURL(base_url)
            yield client
    except httpx.InvalidURL:
        fail(f"{base_url} is no address of a server, such as http://127.0.0.1:8000")
    except httpx.TransportError as error:
        fail(f"{base_url} does not answer: {error}")


def upload(
    client: httpx.Client,
    file: BinaryIO,
    filename: str,
    *,
    purpose: str,
    headers: Mapping[str, str] | None = None,
) -> httpx.Response:
    """Send a file, with a bar on a terminal, and return the answer."""
    columns = (TextColumn("uploading"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    size = os.fstat(file.fileno()).st_size
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        reader = progress.wrap_file(file, total=size)
        files = {"file": (filename, reader)}
        return client.post("/v1/files", headers=headers, data={"purpose": purpose}, files=files)


def answer(response: httpx.Response) -> dict[str, Any]:
    """Return the body. **Raises:** typer.Exit 1, after showing why the server refused."""
    try:
        body = response.json()
    except ValueError:
        body = None
    if response.is_success and isinstance(body, dict):
        return body
    request_id = response.headers.get("x-request-id") if response.is_server_error else None
    try:
        error = dict(body["error"])
        message = str(error["message"])
    except (KeyError, TypeError, ValueError):
        error = {}
        message = f"the server answered {response.status_code}, and no JSON that this command knows"
    told = {"code": error.get("code"), "param": error.get("param"), "request id": request_id}
    fail(message, *(f"{name}: {value}" for name, value in told.items() if value))


def fail(message: str, *details: str) -> NoReturn:
    """Say what is wrong, with details on lines of their own, and end the command with status 1."""
    show(f"Error: {message}", style="red")
    for detail in details:
        show(detail)
    raise typer.Exit(1)


def show(text: str, style: str | None = None) -> None:
    """Print beside the output proper, as it is: no markup, and no line break within a word."""
    console.print(printable(text), style=style, markup=False, highlight=False, soft_wrap=True)


def printable(text: str) -> str:
    """Take the control characters out: names of tensors and directories may hold any."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)
