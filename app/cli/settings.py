"""`lora-api settings`: the reference of every setting, as Markdown (docs/configuration.md)."""

from collections.abc import Iterator
from pathlib import Path

import typer
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from app.settings import Settings

HEAD = """# Configuration

Every setting is an environment variable; an unknown or invalid one stops the start and is named.
S3 credentials are boto3's own (`AWS_ACCESS_KEY_ID`, a profile, a workload identity, …).
What is served is the catalog, a YAML file: see `deploy/catalogs/`.

| Variable | Default | Meaning |
|---|---|---|
"""


def settings() -> None:
    """Print every setting with its default and meaning."""
    typer.echo(reference(), nl=False)


def reference() -> str:
    """Return the reference as Markdown."""
    return HEAD + "".join(_rows(Settings, "LORA_API_"))


def _rows(model: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        kind = field.annotation
        variable = prefix + name.upper()
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _rows(kind, variable + "__")
        else:
            yield f"| `{variable}` | {_default(field)} | {field.description} |\n"


def _default(field: FieldInfo) -> str:
    value = field.default
    if value is PydanticUndefined or isinstance(value, SecretStr):
        return "–"
    if value is None or value == "":
        return "–"
    if isinstance(value, tuple):
        return f"`{list(value)}`"
    return f"`{value.as_posix() if isinstance(value, Path) else value}`"
