"""Settings as the commands read them: a wrong one ends the command and is named."""

import typer
from pydantic import ValidationError

from app.settings import Settings


def read_settings() -> Settings:
    """Read the environment. **Raises:** typer.Exit 2, after saying which settings are wrong."""
    try:
        return Settings()
    except ValidationError as error:
        for problem in error.errors(include_input=False, include_url=False):
            place = "__".join(str(part).upper() for part in problem["loc"])
            name = f"LORA_API_{place}: " if place else ""
            typer.secho(name + problem["msg"].removeprefix("Value error, "), err=True, fg="red")
        raise typer.Exit(2) from error
