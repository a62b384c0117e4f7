"""The metrics of all engines as one Prometheus collector; each engine keeps a registry of its own.

vLLM names its metrics alike in every engine of a process and lets the newest engine throw out the
others' from the global registry. Here each engine's collectors stand apart, and their families are
joined by name when they are read, so that each name has one HELP and one TYPE line.
"""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Metric


class EngineMetrics:
    """A prometheus_client collector: register it once in the registry that /metrics exposes."""

    def __init__(self) -> None:
        self._registries: list[CollectorRegistry] = []

    def add(self, registry: CollectorRegistry) -> None:
        """Expose one more engine's metrics."""
        self._registries.append(registry)

    def remove(self, registry: CollectorRegistry) -> None:
        """Expose an engine's metrics no longer; an unknown registry is no error."""
        if registry in self._registries:
            self._registries.remove(registry)

    def describe(self) -> list[Metric]:
        """Return nothing: families are known only once engines run."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield each family once, with the samples of every engine."""
        families: dict[str, Metric] = {}
        for registry in list(self._registries):
            for family in registry.collect():
                joined = families.setdefault(
                    family.name,
                    Metric(family.name, family.documentation, family.type, family.unit),
                )
                joined.samples.extend(family.samples)
        yield from families.values()
