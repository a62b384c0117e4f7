"""Writes the dashboards' JSON: `python -m deploy.grafana.build`, or `make dashboards`."""

import json
from pathlib import Path

from deploy.grafana import adapters, batches, overview, tenants
from deploy.grafana.panels import dashboard

DIRECTORY = Path(__file__).with_name("dashboards")
BOARDS = {"overview": overview, "adapters": adapters, "batches": batches, "tenants": tenants}


def written() -> dict[str, str]:
    """Return the text of each dashboard by the name of its file."""
    texts = {}
    for name, board in BOARDS.items():
        uid = f"lora-api-{name}"
        built = dashboard(uid, board.TITLE, board.DESCRIPTION, board.ROWS)
        texts[f"{name}.json"] = json.dumps(built, indent=2) + "\n"
    return texts


if __name__ == "__main__":
    for name, text in written().items():
        (DIRECTORY / name).write_text(text)
