"""The `lora-api` command."""

import typer

from app.cli import (
    adapters,
    batches,
    doctor,
    keys,
    migrate,
    openapi,
    organizations,
    serve,
    settings,
    usage,
)

main = typer.Typer(no_args_is_help=True, help="Serve LoRA adapters behind GroqCloud's API.")
main.command("serve")(serve.serve)
main.command("migrate")(migrate.migrate)
main.command("doctor")(doctor.doctor)
main.command("settings")(settings.settings)
main.command("openapi")(openapi.openapi)
main.add_typer(keys.app, name="keys", help="API keys and the organisations they belong to.")
main.add_typer(organizations.app, name="organizations", help="Organisations and their plans.")
main.add_typer(adapters.app, name="adapters", help="Adapters and their versions, over HTTP.")
main.add_typer(usage.app, name="usage", help="What was used, out of the database.")
main.add_typer(batches.app, name="batches", help="Files of requests, answered over HTTP.")
