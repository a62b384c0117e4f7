"""One question to one model, streamed, with the time to the first token on the client's clock."""

import time
from dataclasses import dataclass

from groq import Groq

MAX_TOKENS = 64


class NoAnswer(Exception):
    """A model ended its answer without a single token of text."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, and how many seconds after asking its first text arrived."""

    text: str
    first_token_seconds: float


def ask(client: Groq, model: str, question: str) -> Answer:
    """Ask without a system prompt and at temperature 0. **Raises:** NoAnswer."""
    started = time.perf_counter()
    stream = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": question}],
        temperature=0,
        max_completion_tokens=MAX_TOKENS,
        stream=True,
    )
    pieces: list[str] = []
    arrivals: list[float] = []
    for chunk in stream:
        # The first chunk names the role and carries no text: it is not a token.
        if text := chunk.choices[0].delta.content if chunk.choices else None:
            pieces.append(text)
            arrivals.append(time.perf_counter())
    if not arrivals:
        raise NoAnswer(f"{model} answered {question!r} with nothing")
    return Answer("".join(pieces), arrivals[0] - started)
