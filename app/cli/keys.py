"""`lora-api keys`: mint, list and revoke API keys, directly on the configured database."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from app.auth.repository import ListedKey
from app.auth.secret import load_secret
from app.auth.service import KeyService
from app.cli.database import configured_database, run
from app.cli.environment import read_settings
from app.cli.formats import minute

OrganizationOption = Annotated[str, typer.Option("--org", help="Name of the organisation.")]
FilterOption = Annotated[
    str | None, typer.Option("--org", help="Name of one organisation. Default: all.")
]

app = typer.Typer(no_args_is_help=True)


@app.command()
def create(org: OrganizationOption) -> None:
    """Mint a key; its organisation is made when new. The key is shown this once."""

    async def mint() -> str:
        async with _key_service() as keys:
            return (await keys.create(org)).text

    # The key alone on standard output, so that a script can capture it.
    typer.echo(run(mint()))
    typer.echo("Keep it now: only its hash is stored.", err=True)


@app.command("list")
def list_(org: FilterOption = None) -> None:
    """Show keys by id, never their text."""

    async def listed() -> Sequence[ListedKey]:
        async with _key_service() as keys:
            return await keys.list(org)

    Console().print(_table(run(listed())))


@app.command()
def revoke(key_id: Annotated[str, typer.Argument(help="Id of the key, key_….")]) -> None:
    """End a key; running services refuse it within the key cache's seconds."""

    async def end() -> None:
        async with _key_service() as keys:
            await keys.revoke(key_id)

    run(end())
    typer.echo(f"Revoked {key_id}.", err=True)


@asynccontextmanager
async def _key_service() -> AsyncIterator[KeyService]:
    settings = read_settings()
    async with configured_database(settings) as database:
        pepper = load_secret(settings.auth.secret, settings.data_dir)
        yield KeyService(database.sessions, pepper)


def _table(keys: Sequence[ListedKey]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for column in ("id", "organisation", "created (UTC)", "revoked (UTC)"):
        table.add_column(column, overflow="fold", no_wrap=column != "organisation")
    for key in keys:
        revoked = "" if key.revoked_at is None else minute(key.revoked_at)
        table.add_row(key.id, key.organization, minute(key.created_at), revoked)
    return table
