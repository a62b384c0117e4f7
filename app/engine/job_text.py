"""How much text a job holds, before any tokenizer has looked at it; images do not count."""

from collections.abc import Mapping
from typing import Any

from app.engine.base import Job, TextJob

CHARACTERS_PER_TOKEN = 4
"""Of ordinary English."""


def characters(job: Job) -> int:
    """Return the characters of everything that will be rendered; token ids have none."""
    return _characters(_written(job))


def estimated_tokens(job: Job) -> int:
    """Guess a prompt's tokens; token ids are what they are."""
    if isinstance(job, TextJob) and not isinstance(job.prompt, str):
        return len(job.prompt)
    return characters(job) // CHARACTERS_PER_TOKEN


def _written(job: Job) -> Any:
    if isinstance(job, TextJob):
        return job.prompt
    return [job.messages, job.tool_use.tools if job.tool_use else ()]


def _characters(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(_characters(item) for key, item in value.items() if key != "image_url")
    return sum(map(_characters, value)) if isinstance(value, list | tuple) else 0
