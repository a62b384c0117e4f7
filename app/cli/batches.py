"""`lora-api batches`: a file of requests goes in, a file of answers comes out.

Exit status: 0 where all lines succeeded, 3 where some failed, 1 where the batch failed, was
cancelled or expired, or the server refused. Wrong usage is 2, as everywhere. A command that is
interrupted leaves the batch running.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from app.cli.batch_client import Batch, BatchClient
from app.cli.batch_progress import Display, displayed
from app.cli.batch_views import ENDED, print_batch, print_batches, problems, summary
from app.cli.http_client import DEFAULT_URL, AsJson, BaseUrl, Key, connected, console, fail, show
from app.cli.patience import Patience

app = typer.Typer(no_args_is_help=True)

CHAT = "/v1/chat/completions"
SOME_FAILED = 3
INTERRUPTED = 130
FIRST_LINE_BYTES = 16 << 20

Id = Annotated[str, typer.Argument(help="The batch's `batch_` id.")]
Every = Annotated[float, typer.Option(min=0.05, help="Seconds between two looks at the batch.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="File for the lines that succeeded.")]
Errors = Annotated[Path | None, typer.Option(help="File for the lines that failed.")]


@app.command()
def run(
    input: Annotated[
        Path, typer.Argument(help="JSONL, a request a line.", exists=True, dir_okay=False)
    ],
    output: Output,
    api_key: Key,
    errors: Errors = None,
    endpoint: Annotated[str | None, typer.Option(help="Default: the first line's url.")] = None,
    window: Annotated[str, typer.Option(help="Time that the batch has: 24h to 7d.")] = "24h",
    base_url: BaseUrl = DEFAULT_URL,
    every: Every = 1.0,
) -> None:
    """Upload a file of requests, wait until they are answered, and download the answers."""
    targets = _targets(output, errors, input)
    endpoint = endpoint or first_url(input)
    with _working(base_url, api_key) as (client, display):
        client.newest(1)
        batch = _started(client, input, endpoint, window)
        show(f"{batch['id']} made of {input.name}")
        with _going_on(batch["id"]):
            batch = _awaited(client, batch["id"], display, every)
            _download(client, batch, targets)
    _finish(batch, targets)


@app.command()
def watch(id: Id, api_key: Key, base_url: BaseUrl = DEFAULT_URL, every: Every = 1.0) -> None:
    """Show how far a batch is until it ends."""
    with _working(base_url, api_key) as (client, display), _going_on(id):
        batch = _awaited(client, id, display, every)
    _finish(batch, {})


@app.command()
def download(
    id: Id,
    api_key: Key,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="As of `run`.")] = None,
    errors: Errors = None,
    base_url: BaseUrl = DEFAULT_URL,
) -> None:
    """Download what a batch that has ended answered; an interruption leaves no half of a file."""
    targets = _targets(output, errors)
    if not targets:
        raise typer.BadParameter("say where to: -o FILE, --errors FILE, or both")
    with _working(base_url, api_key) as (client, _):
        batch = client.get(id)
        if batch["status"] not in ENDED:
            fail(f"{id} is {batch['status']}; its answers can be downloaded once it has ended.")
        _download(client, batch, targets)
    _finish(batch, targets)


@app.command("list")
def list_newest(
    api_key: Key,
    base_url: BaseUrl = DEFAULT_URL,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Show the newest batches."""
    with _working(base_url, api_key) as (client, _):
        batches = client.newest(limit)
    if as_json:
        typer.echo(json.dumps(batches, indent=2))
    elif batches:
        print_batches(batches)
    else:
        show("No batches.")


@app.command("show")
def show_one(
    id: Id, api_key: Key, base_url: BaseUrl = DEFAULT_URL, as_json: AsJson = False
) -> None:
    """Show all that is known of a batch."""
    with _working(base_url, api_key) as (client, _):
        batch = client.get(id)
    if as_json:
        typer.echo(json.dumps(batch, indent=2))
    else:
        print_batch(batch)


@app.command()
def cancel(id: Id, api_key: Key, base_url: BaseUrl = DEFAULT_URL) -> None:
    """End a batch early; what it has answered by then is kept."""
    with _working(base_url, api_key) as (client, _):
        batch = client.cancel(id)
    typer.echo(f"{id} is {batch['status']}")


def first_url(path: Path) -> str:
    """Return the first line's url, which batches of one endpoint have in every line.

    Without one it is chat's, and the server tells what is wrong with the line.
    """
    with path.open("rb") as file:
        line = file.readline(FIRST_LINE_BYTES)
    try:
        url = json.loads(line)["url"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return CHAT
    return url.removeprefix("/openai") if isinstance(url, str) and url else CHAT


@contextmanager
def _working(base_url: str, api_key: str) -> Iterator[tuple[BatchClient, Display]]:
    with connected(base_url, api_key) as http, displayed(console) as display:
        yield BatchClient(http, Patience(display.tell)), display


@contextmanager
def _going_on(id: str) -> Iterator[None]:
    """Say, where the user has had enough, that the batch goes on without this command."""
    try:
        yield
    except KeyboardInterrupt:
        show(f"{id} goes on without this command. To watch it, to have its answers, to end it:")
        for command in (f"watch {id}", f"download {id} -o FILE", f"cancel {id}"):
            show(f"  lora-api batches {command}")
        raise typer.Exit(INTERRUPTED) from None


def _started(client: BatchClient, path: Path, endpoint: str, window: str) -> Batch:
    file_id = client.upload(path)
    try:
        return client.create(file_id, endpoint, window)
    except typer.Exit:
        client.delete_file(file_id)
        raise


def _awaited(client: BatchClient, id: str, display: Display, every: float) -> Batch:
    while (batch := client.get(id))["status"] not in ENDED:
        display.show(batch)
        time.sleep(every)
    return batch


def _targets(
    output: Path | None, errors: Path | None, input: Path | None = None
) -> dict[str, Path]:
    """Return where each file of a batch goes. **Raises:** typer.BadParameter."""
    named = {"output_file_id": output, "error_file_id": errors}
    targets = {field: path for field, path in named.items() if path is not None}
    taken = [path.resolve() for path in (*targets.values(), input) if path is not None]
    if len(set(taken)) < len(taken):
        raise typer.BadParameter("the input, the output and the errors are three different files")
    for path in targets.values():
        if not path.parent.is_dir() or (path.exists() and not path.is_file()):
            raise typer.BadParameter(f"{path} cannot be written: it is no file in a directory")
    return targets


def _download(client: BatchClient, batch: Batch, targets: dict[str, Path]) -> None:
    if batch["status"] == "failed":
        return
    for field, path in targets.items():
        if file_id := batch[field]:
            client.download(file_id, path)
        else:
            path.write_bytes(b"")


def _finish(batch: Batch, targets: dict[str, Path]) -> None:
    """Say how the batch ended, and end the command so that scripts know too."""
    typer.echo(summary(batch))
    for problem in problems(batch):
        show(problem, style="red")
    if batch["error_file_id"] and "error_file_id" not in targets:
        show("Why lines failed: " + _download_command(batch, "--errors errors.jsonl"))
    if batch["output_file_id"] and not targets:
        show("The answers: " + _download_command(batch, "-o output.jsonl"))
    if batch["status"] != "completed":
        raise typer.Exit(1)
    if batch["request_counts"]["failed"]:
        raise typer.Exit(SOME_FAILED)


def _download_command(batch: Batch, target: str) -> str:
    return f"lora-api batches download {batch['id']} {target}"
