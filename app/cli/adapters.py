"""`lora-api adapters`: what a customer does over HTTP, from the shell.

The server and the key come from `LORA_API_BASE_URL` and `LORA_API_KEY`, or the options.
"""

import json
import re
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, BinaryIO, cast
from urllib.parse import quote

import httpx
import typer

from adapters_registry.types import CONFIG_FILE, WEIGHTS_FILE, Tier
from app.adapters.names import NAME_RULE, is_valid_name
from app.api.fine_tunings.schemas import MAX_PIN_SECONDS
from app.cli.adapter_views import Adapter, print_models, print_status, print_versions
from app.cli.formats import moment
from app.cli.http_client import (
    DEFAULT_URL,
    AsJson,
    BaseUrl,
    Key,
    answer,
    connected,
    console,
    fail,
    show,
    upload,
)

app = typer.Typer(no_args_is_help=True)

RESOURCE = "/v1/fine_tunings"
DURATION = re.compile(r"([0-9]{1,9})([smhd])")
UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

Id = Annotated[str, typer.Argument(help="The version's `ft_` id or its model id.")]
BaseModel = Annotated[str | None, typer.Option(help="Id of the base model. Default: all.")]
Lifetime = Annotated[
    str, typer.Option("--for", metavar="DURATION", help="Say 30m, 2h or 1d; 7d at most.")
]


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
    """Upload an adapter, register it and print its model id. A refusal leaves no upload behind."""
    if not is_valid_name(name):
        raise typer.BadParameter(f"{name!r} {NAME_RULE}", param_hint="--name")
    with connected(base_url, api_key) as client:
        _require_base_model(client, base_model)
        with _archive(adapter) as archive:
            file = answer(upload(client, archive, f"{name}.zip", purpose="fine_tuning"))
        with console.status("validating and trying the adapter"):
            body = {"input_file_id": file["id"], "name": name, "base_model": base_model}
            response = client.post(RESOURCE, json={**body, "type": "lora"})
        if not response.is_success:
            with suppress(httpx.HTTPError):
                client.delete(f"/v1/files/{file['id']}")
        created = answer(response)["data"]
    typer.echo(created["fine_tuned_model"])


@app.command("list")
def list_all(api_key: Key, base_url: BaseUrl = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Show the model ids of all versions, newest first."""
    _show(_found(base_url, api_key), print_models, as_json=as_json)


@app.command()
def status(api_key: Key, base_url: BaseUrl = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Show what is active, pinned or ready, and why adapters in the bucket failed."""
    _show(_found(base_url, api_key), print_status, as_json=as_json)


@app.command()
def versions(
    name: Annotated[str, typer.Argument(help="Name of the fine-tuned model.")],
    api_key: Key,
    base_url: BaseUrl = DEFAULT_URL,
    base_model: BaseModel = None,
    as_json: AsJson = False,
) -> None:
    """Show the versions of a name, newest first."""
    found = _found(base_url, api_key, name=name, base_model=base_model)
    if not found and not as_json:
        fail(f"No adapter{f' on {base_model}' if base_model else ''} is called '{name}'.")
    _show(found, print_versions, as_json=as_json)


@app.command()
def activate(id: Id, api_key: Key, base_url: BaseUrl = DEFAULT_URL) -> None:
    """Have the name's alias stand for this version, say to go back to an earlier one."""
    with connected(base_url, api_key) as client:
        version = answer(client.post(f"{_path(client, id)}/activate"))["data"]
    typer.echo(f"{version['alias']} stands for {version['fine_tuned_model']}")


@app.command()
def warm(id: Id, api_key: Key, base_url: BaseUrl = DEFAULT_URL) -> None:
    """Load a version on the replica that answers, before the first request needs it."""
    with connected(base_url, api_key) as client, console.status("loading"):
        warmth = answer(client.post(f"{_path(client, id)}/warm"))
    if warmth["tier"] == Tier.ENGINE:
        typer.echo("already in the engine")
    else:
        typer.echo(f"found in the {warmth['tier']}, loaded after {warmth['milliseconds']} ms")


@app.command()
def pin(id: Id, api_key: Key, base_url: BaseUrl = DEFAULT_URL, lifetime: Lifetime = "1h") -> None:
    """Keep a version loaded on every replica for a time, counted from now."""
    body = {"seconds": duration(lifetime)}
    with connected(base_url, api_key) as client, console.status("loading"):
        pinned = answer(client.post(f"{_path(client, id)}/pin", json=body))["data"]
    typer.echo(f"pinned until {moment(pinned['pinned_until'])}")


@app.command()
def unpin(id: Id, api_key: Key, base_url: BaseUrl = DEFAULT_URL) -> None:
    """End a pin."""
    with connected(base_url, api_key) as client:
        answer(client.delete(f"{_path(client, id)}/pin"))
    typer.echo(f"unpinned {id}")


@app.command()
def delete(id: Id, api_key: Key, base_url: BaseUrl = DEFAULT_URL) -> None:
    """Delete a version; its alias goes back to the one that was active before."""
    with connected(base_url, api_key) as client:
        answer(client.delete(_path(client, id)))
    typer.echo(f"deleted {id}")


def duration(text: str) -> int:
    """Read `30m`, `2h` or `1d`, 7d at most, as seconds. **Raises:** typer.BadParameter."""
    match = DURATION.fullmatch(text)
    seconds = int(match[1]) * UNIT_SECONDS[match[2]] if match else 0
    if not 1 <= seconds <= MAX_PIN_SECONDS:
        message = f"{text!r} is no duration such as 90s, 30m, 2h or 1d; 7d at most."
        raise typer.BadParameter(message, param_hint="--for")
    return seconds


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


def _require_base_model(client: httpx.Client, id: str) -> None:
    models = [model["id"] for model in answer(client.get("/v1/models"))["data"]]
    bases = [model for model in models if not model.startswith("ft:")]
    if id not in bases:
        fail(f"{id} is no base model of this server; it has:", *bases)


def _found(base_url: str, api_key: str, **filters: str | None) -> list[dict[str, Any]]:
    asked = {key: value for key, value in filters.items() if value is not None}
    with connected(base_url, api_key) as client:
        adapters: list[dict[str, Any]] = answer(client.get(RESOURCE, params=asked))["data"]
    return adapters


def _show(
    adapters: list[dict[str, Any]], table: Callable[[Sequence[Adapter]], None], *, as_json: bool
) -> None:
    if as_json:
        typer.echo(json.dumps(adapters, indent=2))
    elif adapters:
        table(adapters)
    else:
        show("No adapters.")


def _path(client: httpx.Client, id: str) -> str:
    """Return the path of a version, which is looked for where its model id is given."""
    if not id.startswith("ft_"):
        id = _version_id(answer(client.get(RESOURCE))["data"], id)
    return f"{RESOURCE}/{quote(id, safe='')}"


def _version_id(adapters: Sequence[Adapter], model: str) -> str:
    for adapter in adapters:
        if adapter["fine_tuned_model"] == model:
            return str(adapter["id"])
    versions = [adapter for adapter in adapters if adapter.get("alias") == model]
    if versions:
        ids = (line for one in versions for line in (one["fine_tuned_model"], f"  {one['id']}"))
        fail(f"{model} is an alias; name one of its versions:", *ids)
    fail(f"No version has the id {model}; `lora-api adapters list` shows them.")
