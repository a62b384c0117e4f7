"""`lora-api adapters`: what a customer does over HTTP, from the shell.

The server and the key come from `LORA_API_BASE_URL` and `LORA_API_KEY`, or the options.
"""

import os
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, BinaryIO, cast

import httpx
import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table

from adapters_registry.types import CONFIG_FILE, WEIGHTS_FILE

app = typer.Typer(no_args_is_help=True)
console = Console(stderr=True)

BaseUrl = Annotated[str, typer.Option(envvar="LORA_API_BASE_URL", help="The server's address.")]
Key = Annotated[str, typer.Option(envvar="LORA_API_KEY", help="API key.", show_default=False)]
DEFAULT_URL = "http://127.0.0.1:8000"
REQUEST_SECONDS = 600.0


@app.command()
def push(
    adapter: Annotated[
        Path, typer.Argument(help="A PEFT output directory, or a ZIP.", exists=True)
    ],
    name: Annotated[str, typer.Option(help="Name of the fine-tuned model.")],
    base_model: Annotated[str, typer.Option(help="Id of the base model.")],
    api_key: Key,
    base_url: BaseUrl = DEFAULT_URL,
) -> None:
    """Upload an adapter, register it and print its model id."""
    with _client(base_url, api_key) as client:
        with _archive(adapter) as archive:
            file = _upload(client, archive, f"{name}.zip")
        with console.status("validating and trying the adapter"):
            body = {"input_file_id": file["id"], "name": name, "base_model": base_model}
            created = _answer(client.post("/v1/fine_tunings", json={**body, "type": "lora"}))
    typer.echo(created["data"]["fine_tuned_model"])


@app.command("list")
def list_all(api_key: Key, base_url: BaseUrl = DEFAULT_URL) -> None:
    """Show the organisation's adapters."""
    with _client(base_url, api_key) as client:
        adapters = _answer(client.get("/v1/fine_tunings"))["data"]
    table = Table("id", "name", "base model", "model id")
    for item in adapters:
        table.add_row(item["id"], item["name"], item["base_model"], item["fine_tuned_model"])
    Console().print(table)


@app.command()
def delete(id: str, api_key: Key, base_url: BaseUrl = DEFAULT_URL) -> None:
    """Delete an adapter by its `ft_` or its model id."""
    path = f"/v1/models/{id}" if id.startswith("ft:") else f"/v1/fine_tunings/{id}"
    with _client(base_url, api_key) as client:
        _answer(client.delete(path))
    typer.echo(f"deleted {id}")


def zip_adapter(directory: Path, archive: BinaryIO) -> None:
    """Pack the two files that the service takes from a PEFT output directory.

    **Raises:** typer.BadParameter, naming what is missing.
    """
    missing = [name for name in (WEIGHTS_FILE, CONFIG_FILE) if not (directory / name).is_file()]
    if missing:
        raise typer.BadParameter(f"{directory} has no {' and no '.join(missing)}")
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as packed:
        for name in (WEIGHTS_FILE, CONFIG_FILE):
            packed.write(directory / name, name)


@contextmanager
def _archive(adapter: Path) -> Iterator[BinaryIO]:
    if adapter.is_file():
        with adapter.open("rb") as file:
            yield file
        return
    with tempfile.TemporaryFile() as temporary:
        archive = cast(BinaryIO, temporary)
        zip_adapter(adapter, archive)
        archive.seek(0)
        yield archive


def _upload(client: httpx.Client, archive: BinaryIO, filename: str) -> dict[str, Any]:
    columns = (TextColumn("uploading"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    size = os.fstat(archive.fileno()).st_size
    with Progress(*columns, console=console) as progress:
        reader = progress.wrap_file(archive, total=size)
        files = {"file": (filename, reader, "application/zip")}
        response = client.post("/v1/files", data={"purpose": "fine_tuning"}, files=files)
    return _answer(response)


@contextmanager
def _client(base_url: str, api_key: str) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {api_key}"}
    try:
        with httpx.Client(base_url=base_url, headers=headers, timeout=REQUEST_SECONDS) as client:
            yield client
    except httpx.TransportError as error:
        console.print(f"{base_url} does not answer: {error}", style="red", markup=False)
        raise typer.Exit(1) from error


def _answer(response: httpx.Response) -> dict[str, Any]:
    if response.is_success:
        body: dict[str, Any] = response.json()
        return body
    try:
        message = response.json()["error"]["message"]
    except (ValueError, KeyError, TypeError):
        message = f"the server answered {response.status_code}"
    console.print(message, style="red", markup=False)
    raise typer.Exit(1)
