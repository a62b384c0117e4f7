"""The settings reference is generated, so it cannot lie."""

from pathlib import Path

from app.cli.settings import reference

DOCUMENT = Path(__file__).parents[3] / "docs" / "configuration.md"


def test_the_document_is_what_the_command_prints() -> None:
    assert DOCUMENT.read_text() == reference(), "run `make docs`"
