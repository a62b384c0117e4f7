"""Check objects against Kubernetes' schemas, run by the Python of .venv/helm.

Reads `{"versions": […], "objects": […]}` and prints the faults by version. What is none of
Kubernetes' own kinds is listed under `unknown`.
"""

import functools
import json
import sys

from kubernetes_validate import utils

# Read anew, the schemas of one version take longer than all checks with them.
utils.schema_contents = functools.cache(utils.schema_contents)


def faults(objects: list[dict], version: str) -> tuple[list[str], set[str]]:
    """Return what is wrong with the objects, and the kinds that the version does not know."""
    found, unknown = [], set()
    for item in objects:
        try:
            utils.validate(item, version, strict=True)
        except utils.SchemaNotFoundError:
            unknown.add(item["kind"])
        except utils.ValidationError as error:
            place = ".".join(map(str, error.absolute_path))
            found.append(f"{item['kind']} {item['metadata']['name']}: {place}: {error.message}")
    return found, unknown


def main() -> None:
    asked = json.load(sys.stdin)
    results = {version: faults(asked["objects"], version) for version in asked["versions"]}
    answer = {
        "faults": {version: found for version, (found, _) in results.items()},
        "unknown": sorted(set().union(*(unknown for _, unknown in results.values()))),
        "known_versions": sorted({utils.major_minor(v) for v in utils.all_versions()}),
    }
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
