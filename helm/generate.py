"""Bring the chart's generated parts up to date: `python helm/generate.py`.

Generated are, from the service's own models, what values.schema.json says about settings, catalogs
and plans, and, from the comments of values.yaml, the table of values in README.md. All else in
those two files is written by hand. Definitions of the schema with a capital letter are generated.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from app.catalog import Catalog
from app.limits.plans import Plans
from app.settings import Settings

CHART = Path(__file__).parent / "lora-inference-api"
OF_THE_CHART = {
    "": ("catalog", "plans", "pools", "data_dir", "server", "store"),
    "AuthSettings": ("secret", "cache_seconds"),
    "DatabaseSettings": ("url", "pool_size"),
    "RateLimitSettings": ("storage_url",),
}
"""Settings that other values of the chart stand for, by the class that holds them."""
LEFT_OUT = ("default", "format", "title")
BEGIN, END = "<!-- values: generated -->\n", "<!-- end of values -->\n"


def definitions() -> dict[str, Any]:
    """Return the generated definitions of the schema by name."""
    found: dict[str, Any] = {}
    for model in (Settings, Catalog, Plans):
        schema = model.model_json_schema(ref_template="#/$defs/{model}")
        found |= schema.pop("$defs", {})
        found[model.__name__] = schema
    found["Settings"] = _without(found["Settings"], OF_THE_CHART[""])
    for name in OF_THE_CHART.keys() - {""}:
        found[name] = _without(found[name], OF_THE_CHART[name])
    empty = {name for name, schema in found.items() if not schema.get("properties")}
    found["Settings"]["properties"] = {
        name: part
        for name, part in found["Settings"]["properties"].items()
        if part.get("$ref", "").rpartition("/")[2] not in empty
    }
    kept = found.keys() - {*empty, "PoolSettings", "ServerSettings", "StoreSettings"}
    return {name: _draft_07(found[name]) for name in sorted(kept)}


def _without(schema: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    left = {key: value for key, value in schema["properties"].items() if key not in names}
    return {**schema, "properties": left}


def _draft_07(schema: Any) -> Any:
    """Return the schema in the draft that every Helm knows, without titles and defaults."""
    if isinstance(schema, list):
        return [_draft_07(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return {"$ref": schema["$ref"]}
    kept = {name: part for name, part in schema.items() if name not in LEFT_OUT}
    if "prefixItems" in kept:
        kept["items"] = kept.pop("prefixItems")
    if "patternProperties" in kept:
        kept["additionalProperties"] = False
    if "description" in kept:
        kept["description"] = " ".join(kept["description"].split())
    return {
        name: {key: _draft_07(value) for key, value in part.items()}
        if name == "properties"
        else _draft_07(part)
        for name, part in kept.items()
    }


def schema_text(current: str) -> str:
    """Return values.schema.json with its generated definitions as they have to be."""
    schema = json.loads(current)
    by_hand = {name: part for name, part in schema["$defs"].items() if name[0].islower()}
    return json.dumps({**schema, "$defs": by_hand | definitions()}, indent=2) + "\n"


def rows(values: str) -> Iterator[tuple[str, str, str]]:
    """Yield `(key, default, description)` of every leaf: the comment above it describes it."""
    lines = values.splitlines()
    yield from _rows(yaml.compose(values), lines, "")


def _rows(node: yaml.Node, lines: list[str], prefix: str) -> Iterator[tuple[str, str, str]]:
    assert isinstance(node, yaml.MappingNode)
    for key, value in node.value:
        path = f"{prefix}{key.value}"
        if isinstance(value, yaml.MappingNode) and value.value:
            yield from _rows(value, lines, f"{path}.")
        else:
            default = json.dumps(yaml.safe_load(yaml.serialize(value)))
            yield path, default, _comment(lines, key.start_mark.line)


def _comment(lines: list[str], line: int) -> str:
    first = line
    while first and lines[first - 1].lstrip().startswith("#"):
        first -= 1
    return " ".join(text.strip().removeprefix("#").strip() for text in lines[first:line])


def readme_text(current: str, values: str) -> str:
    """Return README.md with its table of values as it has to be."""
    head, rest = current.split(BEGIN)
    _, tail = rest.split(END)
    table = "| Value | Default | Meaning |\n|---|---|---|\n" + "".join(
        f"| `{key}` | `{default}` | {meaning} |\n" for key, default, meaning in rows(values)
    )
    return head + BEGIN + table + END + tail


def generated() -> dict[Path, str]:
    """Return the files that hold generated parts, and what they have to say."""
    schema, readme = CHART / "values.schema.json", CHART / "README.md"
    values = (CHART / "values.yaml").read_text()
    return {
        schema: schema_text(schema.read_text()),
        readme: readme_text(readme.read_text(), values),
    }


if __name__ == "__main__":
    for path, text in generated().items():
        path.write_text(text)
