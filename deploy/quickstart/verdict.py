"""Judges the demo: every adapter shows its style in every answer, and the base model never does."""

from collections.abc import Mapping, Sequence

from deploy.quickstart.conversation import Answer
from deploy.quickstart.styles import Style


def failures(
    styles: Sequence[Style], base: Sequence[Answer], adapters: Mapping[str, Sequence[Answer]]
) -> list[str]:
    """Return one sentence for each answer that is not as it should be; none means success."""
    found = []
    for style in styles:
        for answer in adapters[style.name]:
            if not style.shows(answer.text):
                found.append(f"The {style.name} adapter did not show its style: {answer.text!r}")
        for answer in base:
            if style.shows(answer.text):
                found.append(f"The base model answered in {style.name} style: {answer.text!r}")
    return found
