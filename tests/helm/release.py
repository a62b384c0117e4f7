"""Renderings of the chart by the real helm, and how objects are found in them."""

import functools
import json
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "lora-inference-api"
TOOLS = ROOT / ".venv" / "helm" / "bin"
VALUES = sorted(path.name.removesuffix("-values.yaml") for path in CHART.glob("ci/*-values.yaml"))
NAMESPACE = "serving"

Object = dict[str, Any]


@dataclass(frozen=True)
class Pod:
    """A pod that some object makes: `owner` is its name, `template` what the pods are."""

    owner: Object
    template: Object

    @property
    def labels(self) -> Mapping[str, str]:
        return self.template["metadata"]["labels"]

    @property
    def spec(self) -> Object:
        return self.template["spec"]

    @property
    def container(self) -> Object:
        (container,) = self.spec["containers"]
        return container

    @property
    def env(self) -> Mapping[str, Object]:
        return {variable["name"]: variable for variable in self.container["env"]}

    @property
    def is_server(self) -> bool:
        return self.container["name"] == "server"


@dataclass(frozen=True)
class Release:
    """What one `helm template` wrote."""

    objects: tuple[Object, ...]

    def all(self, kind: str) -> dict[str, Object]:
        """Return the objects of a kind by name."""
        return {o["metadata"]["name"]: o for o in self.objects if o["kind"] == kind}

    def one(self, kind: str) -> Object:
        """Return the only object of a kind."""
        (found,) = self.all(kind).values()
        return found

    def pods(self) -> Iterator[Pod]:
        """Yield every pod, those of groups too."""
        for owner in self.objects:
            spec = owner.get("spec", {})
            if owner["kind"] in ("Deployment", "Job"):
                yield Pod(owner, spec["template"])
            if owner["kind"] == "LeaderWorkerSet":
                for part in ("leaderTemplate", "workerTemplate"):
                    yield Pod(owner, spec["leaderWorkerTemplate"][part])

    def servers(self) -> dict[str, Pod]:
        """Return the serving pods by pool."""
        return {p.labels["lora-inference-api/pool"]: p for p in self.pods() if p.is_server}


def helm(*arguments: str, values: Mapping[str, Any] | None = None) -> tuple[int, str, str]:
    """Run helm and return its exit status, output and errors; `values` override all files."""
    program = TOOLS / "helm"
    assert program.exists(), "run `make helm-tools`"
    extra = () if values is None else ("--values", "-")
    done = subprocess.run(
        [str(program), *arguments, *extra],
        input=None if values is None else json.dumps(values),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def values_file(name: str) -> str:
    return str(CHART / "ci" / f"{name}-values.yaml")


def rendered(name: str, values: Mapping[str, Any] | None = None) -> Release:
    """Return the chart with the values of `ci/<name>-values.yaml`, and with further ones."""
    status, output, errors = _template(name, values)
    assert status == 0, errors
    return Release(tuple(part for part in yaml.safe_load_all(output) if part))


@functools.cache
def sample(name: str) -> Release:
    """Return the chart with the values of a file alone, rendered once for all tests."""
    return rendered(name)


def refusal(name: str, values: Mapping[str, Any]) -> str:
    """Return what helm says to values that the chart must not take."""
    status, _, errors = _template(name, values)
    assert status != 0, "the chart took it"
    return errors


def _template(name: str, values: Mapping[str, Any] | None) -> tuple[int, str, str]:
    place = ("template", "demo", str(CHART), "--namespace", NAMESPACE)
    return helm(*place, "--values", values_file(name), values=values)


def matches(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Tell whether a selector takes pods with these labels."""
    # The controller of groups gives its leaders this label.
    given = {"leaderworkerset.sigs.k8s.io/worker-index": "0", **labels}
    return selector.items() <= given.items()
