"""What can be refused is documented."""

from pathlib import Path

from tests.hostile.corpus import CORPUS

DOCUMENT = Path(__file__).parents[2] / "docs" / "adapters.md"


def test_every_verdict_is_explained() -> None:
    text = DOCUMENT.read_text()
    assert [code for code in {case.code for case in CORPUS} if f"`{code}`" not in text] == []
