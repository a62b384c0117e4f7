"""`lora-api organizations`: list them and give them plans, directly on the configured database."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from app.auth.organizations import OrganizationService
from app.auth.repository import ListedOrganization
from app.cli.database import configured_database, run
from app.cli.environment import read_settings
from app.cli.formats import minute
from app.limits.plans import PlansError, load_plans

NameArgument = Annotated[str, typer.Argument(help="Name of the organisation.")]
PlanArgument = Annotated[str | None, typer.Argument(help="Name of the plan.")]
DefaultOption = Annotated[bool, typer.Option("--default", help="Follow the default plan again.")]

app = typer.Typer(no_args_is_help=True)


@app.command("list")
def list_() -> None:
    """Show organisations with their plans."""
    settings = read_settings()

    async def listed() -> Sequence[ListedOrganization]:
        async with configured_database(settings) as database:
            return await OrganizationService(database.sessions).list()

    Console().print(_table(run(listed())))


@app.command()
def plan(name: NameArgument, plan: PlanArgument = None, default: DefaultOption = False) -> None:
    """Give an organisation a plan; running services follow within the key cache's seconds."""
    if (plan is None) is not default:
        raise typer.BadParameter("name a plan, or say --default")
    settings = read_settings()

    async def change() -> None:
        if plan is not None and settings.plans is not None:
            _check(settings.plans, plan)
        async with configured_database(settings) as database:
            await OrganizationService(database.sessions).set_plan(name, plan)

    run(change())
    typer.echo(f"{name} has the {'default plan' if default else f'plan {plan}'}.", err=True)
    if settings.plans is None:
        typer.echo("LORA_API_PLANS is not set here: whether the plan exists is unknown.", err=True)


def _check(path: Path, plan: str) -> None:
    plans = load_plans(path).plans
    if plan not in plans:
        raise PlansError(f"{path}: has no such plan, only {', '.join(sorted(plans))}")


def _table(organizations: Sequence[ListedOrganization]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for column in ("id", "organisation", "plan", "created (UTC)"):
        table.add_column(column, overflow="fold", no_wrap=column in ("id", "created (UTC)"))
    for row in organizations:
        table.add_row(row.id, row.name, row.plan or "(default)", minute(row.created_at))
    return table
