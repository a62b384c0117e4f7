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
    messages = [_without_images(message) for message in job.messages]
    return [messages, job.tool_use.tools if job.tool_use else ()]


def _without_images(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """Leave out parts only: a tool's schema may have a property of any name, which is text."""
    content = message.get("content")
    if not isinstance(content, list):
        return message
    return {**message, "content": [part for part in content if not _is_image(part)]}


def _is_image(part: Any) -> bool:
    return isinstance(part, Mapping) and part.get("type") == "image_url"


def _characters(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(len(key) + _characters(item) for key, item in value.items())
    return sum(map(_characters, value)) if isinstance(value, list | tuple) else 0
