"""values.schema.json: it knows every value, and refuses all others."""

import copy
import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import yaml

from tests.helm.release import CHART, VALUES, refusal, values_file

SCHEMA = json.loads((CHART / "values.schema.json").read_text())
VALIDATOR = jsonschema.Draft7Validator(SCHEMA)
DEFAULTS = yaml.safe_load((CHART / "values.yaml").read_text())
FREE = {"global", "kubernetesObject", "vllm"}
"""Objects whose keys others check: an umbrella chart, Kubernetes, vLLM."""
NAMED_BY_THE_USER = {"pools", "files", "digests"}


def _objects(schema: Any, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every schema of an object, with the name it stands under."""
    if isinstance(schema, list):
        for part in schema:
            yield from _objects(part, name)
    elif isinstance(schema, dict):
        if schema.get("type") == "object":
            yield name, schema
        for key, part in schema.items():
            if key in ("properties", "$defs"):
                for child, value in part.items():
                    yield from _objects(value, child)
            else:
                yield from _objects(part, name)


def test_every_object_says_which_keys_it_takes() -> None:
    objects = list(_objects(SCHEMA, ""))
    assert len(objects) > 60
    for name, schema in objects:
        closed = schema.get("additionalProperties") is False or schema.get("maxProperties") == 0
        typed = isinstance(schema.get("additionalProperties"), dict)
        assert closed or typed or name in FREE, name


def _places(values: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield where a mapping of the values takes only keys that the schema names."""
    yield path
    for key, value in values.items():
        if isinstance(value, dict) and value and not key.endswith(("abels", "requests")):
            yield from _places(value, (*path, key))


@pytest.mark.parametrize("place", list(_places(DEFAULTS)), ids=".".join)
def test_a_typo_is_refused_wherever_it_stands(place: tuple[str, ...]) -> None:
    values = copy.deepcopy(DEFAULTS)
    node = values
    for key in place:
        node = node[key]
    node["typo"] = {"of": "a value"}
    errors = [error.message for error in VALIDATOR.iter_errors(values)]
    assert any("typo" in message for message in errors)


def test_the_defaults_and_every_sample_keep_to_it() -> None:
    VALIDATOR.validate(DEFAULTS)
    for name in VALUES:
        with open(values_file(name)) as file:
            VALIDATOR.validate(yaml.safe_load(file))


def test_every_value_has_a_default_which_tells_that_there_is_such_a_value() -> None:
    missing = set(_missing(SCHEMA, DEFAULTS, ""))
    assert missing == {"global", "image.digests.cpu", "image.digests.gpu", *_settings()}


def _settings() -> Iterator[str]:
    for place in ("settings", "poolDefaults.settings"):
        for name in SCHEMA["$defs"]["Settings"]["properties"]:
            yield f"{place}.{name}"


def _missing(schema: dict[str, Any], values: dict[str, Any], prefix: str) -> Iterator[str]:
    if "$ref" in schema:
        schema = SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]]
    for name, part in schema.get("properties", {}).items():
        if name not in values:
            yield prefix + name
        elif isinstance(values[name], dict):
            yield from _missing(part, values[name], f"{prefix}{name}.")


REFUSED = {
    "an unknown value": ({"replicaCount": 3}, "replicaCount"),
    "an unknown value of a pool": ({"pools": {"small": {"replica": 1}}}, "replica"),
    "an unknown setting": ({"settings": {"adapters": {"cache_byte": 1}}}, "cache_byte"),
    "a setting out of bounds": ({"settings": {"admission": {"reserve": 0.9}}}, "reserve"),
    "other pools as a setting": ({"settings": {"pools": []}}, "pools"),
    "an unknown key of a catalog": (
        {"pools": {"small": {"catalog": {"models": [{"id": "m", "taks": "chat"}]}}}},
        "taks",
    ),
    "an unknown plan limit": (
        {"plans": {"default": "free", "plans": {"free": {"models": {"*": {"rps": 1}}}}}},
        "rps",
    ),
    "the tag latest": ({"image": {"tag": "latest"}}, "tag"),
    "an image without a tag": ({"pools": {"small": {"image": "mirror:5000/lora"}}}, "image"),
    "the image tag latest": ({"pools": {"small": {"image": "mirror/lora:latest"}}}, "image"),
    "a setting as a variable": ({"pools": {"small": {"env": {"LORA_API_PLANS": "x"}}}}, "LORA_API"),
    "a catalog as a file": ({"pools": {"small": {"files": {"catalog.yaml": ""}}}}, "catalog.yaml"),
    "a pool without a usable name": ({"pools": {"Small_": {}}}, "Small_"),
    "a margin that is too short": ({"shutdown": {"marginSeconds": 1}}, "marginSeconds"),
    "an unknown kind of volume": ({"pools": {"small": {"data": {"type": "nfs"}}}}, "type"),
}


@pytest.mark.parametrize(("values", "place"), REFUSED.values(), ids=REFUSED)
def test_helm_refuses(values: dict[str, Any], place: str) -> None:
    assert re.search(re.escape(place), refusal("minimal", values))


@pytest.mark.parametrize(
    "image", ["", "lora:1.2-cpu", "mirror:5000/a/lora:1.2", "lora@sha256:" + "0" * 64]
)
def test_whole_references_of_images_are_taken(image: str) -> None:
    VALIDATOR.validate({"pools": {"small": {"image": image}}})
