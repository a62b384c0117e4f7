"""One question to one model, streamed, with the time to the first token on the client's clock."""

import time
from dataclasses import dataclass

from groq import Groq

MAX_TOKENS = 64


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, and how many seconds after asking its first text arrived."""

    text: str
    first_token_seconds: float


def ask(client: Groq, model: str, question: str) -> Answer:
    """Ask without a system prompt and at temperature 0."""
    started = time.perf_counter()
    stream = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": question}],
        temperature=0,
        max_completion_tokens=MAX_TOKENS,
        stream=True,
    )
    pieces: list[str] = []
    first_token_seconds = 0.0
    for chunk in stream:
        text = chunk.choices[0].delta.content if chunk.choices else None
        if text and not pieces:
            first_token_seconds = time.perf_counter() - started
        pieces.append(text or "")
    return Answer("".join(pieces), first_token_seconds)
