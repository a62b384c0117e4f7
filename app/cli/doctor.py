"""`lora-api doctor`: whether this deployment can serve, and what to change where it cannot."""

import asyncio

import typer
from rich.console import Console
from rich.markup import escape

from app.cli.environment import read_settings
from app.doctor.examination import examine
from app.doctor.findings import Finding, Level
from app.settings import Settings

SIGNS: dict[Level, str] = {
    "ok": "[green]ok     [/]",
    "warning": "[yellow]warning[/]",
    "problem": "[red]problem[/]",
}


def doctor() -> None:
    """Check database, store, models, disk and versions; exits with 1 where anything is wrong.

    Reads the same settings as `lora-api serve`, and starts no model.
    """
    problems = asyncio.run(_examined(read_settings()))
    if problems:
        typer.echo(f"{problems} to mend before it can serve.", err=True)
        raise typer.Exit(1)


async def _examined(settings: Settings) -> int:
    console, problems = Console(soft_wrap=True), 0
    async for finding in examine(settings):
        console.print(_line(finding), highlight=False)
        problems += finding.level == "problem"
    return problems


def _line(finding: Finding) -> str:
    return f"{SIGNS[finding.level]}  {finding.part:<12} {escape(finding.text)}"
