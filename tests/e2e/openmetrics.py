"""Reads a server's `/metrics`."""

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.fixtures.server import Server


class Reading:
    """All samples at one moment."""

    def __init__(self, text: str) -> None:
        families = text_string_to_metric_families(text)
        self._samples = [sample for family in families for sample in family.samples]

    def total(self, name: str, **labels: str) -> float:
        """Add up the samples of this name that have these labels."""
        wanted = labels.items()
        found = [
            sample.value
            for sample in self._samples
            if sample.name == name and wanted <= sample.labels.items()
        ]
        assert found, f"no sample of {name} with {labels}"
        return sum(found)


def read(server: Server) -> Reading:
    """Read them all now."""
    response = httpx.get(f"{server.url}/metrics", timeout=30)
    assert response.status_code == 200
    return Reading(response.text)
