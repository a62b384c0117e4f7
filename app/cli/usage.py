"""`lora-api usage`: what was used, directly from the configured database, for operators."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import IO, Annotated

import typer

from app.auth.errors import OrganizationNotFound
from app.auth.organizations import OrganizationService
from app.cli.database import configured_database, run
from app.cli.environment import read_settings
from app.usage.export import export as export_usage

DAY = ["%Y-%m-%d"]

StartOption = Annotated[datetime, typer.Option("--start", formats=DAY, help="First day, UTC.")]
EndOption = Annotated[
    datetime | None, typer.Option("--end", formats=DAY, help="Last day, UTC. Default: today.")
]
OrganizationOption = Annotated[
    str | None, typer.Option("--org", help="Name of one organisation. Default: all.")
]
OutputOption = Annotated[
    Path | None, typer.Option("--output", "-o", help="File to write. Default: standard output.")
]

app = typer.Typer(no_args_is_help=True)


@app.callback()
def usage() -> None:
    """Tell what was used, out of the database."""


@app.command()
def export(
    start: StartOption,
    end: EndOption = None,
    org: OrganizationOption = None,
    output: OutputOption = None,
) -> None:
    """Write usage as CSV: a row for each day, key, model and adapter."""
    last = datetime.now(UTC).date() if end is None else end.date()
    if start.date() > last:
        raise typer.BadParameter("--start is after --end")
    with _opened(output) as file:
        rows = run(_export(file, start.date(), last, org))
    typer.echo(f"{rows} rows.", err=True)


async def _export(file: IO[str], start: date, end: date, org: str | None) -> int:
    async with configured_database(read_settings()) as database:
        listed = await OrganizationService(database.sessions).list()
        names = {each.id: each.name for each in listed}
        org_id = None if org is None else _id_of(org, names)
        return await export_usage(database.sessions, file, start, end, names, org_id=org_id)


def _id_of(organization: str, names: dict[str, str]) -> str:
    for id, name in names.items():
        if name == organization:
            return id
    raise OrganizationNotFound(organization)


@contextmanager
def _opened(output: Path | None) -> Iterator[IO[str]]:
    """Open the file; one that is not written to its end takes nobody's place."""
    if output is None:
        yield sys.stdout
        return
    unfinished = output.with_name(output.name + ".part")
    try:
        file = unfinished.open("w", encoding="utf-8", newline="")
    except OSError as error:
        raise typer.BadParameter(f"cannot write {output}: {error.strerror}") from None
    try:
        with file:
            yield file
        unfinished.replace(output)
    finally:
        unfinished.unlink(missing_ok=True)
