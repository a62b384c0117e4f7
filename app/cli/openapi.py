"""`lora-api openapi`: the API's OpenAPI document, as a server answers it at /openapi.json."""

import json

import typer

from app.main import bare_app
from app.openapi import document


def openapi() -> None:
    """Print the API's OpenAPI document."""
    typer.echo(json.dumps(document(bare_app()), indent=2))
