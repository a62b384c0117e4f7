"""Batch files drawn from seeds: short questions, long shared prefixes, mixed adapters.

Two files of one seed are the same; two seeds share no prompt, so that no run finds the answers'
beginnings in the prefix cache of a run before.
"""

import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

URL = "/v1/chat/completions"
_BEGINNINGS, _ENDS = ("ri", "sto", "mar", "let", "win", "gar"), ("ver", "ner", "ket", "ter", "den")
WORDS = tuple(beginning + end for beginning in _BEGINNINGS for end in _ENDS)
QUESTION_WORDS = 8

Message = dict[str, str]


@dataclass(frozen=True, slots=True)
class Shape:
    """What a batch looks like.

    `shared` is the share of lines that begin with one of `prefixes` texts of `prefix_words` words;
    lines take `models` in a random order, each as often.
    """

    lines: int
    tokens: int
    models: tuple[str, ...]
    shared: float = 0.0
    prefixes: int = 1
    prefix_words: int = 0


def write(shape: Shape, seed: int, path: Path) -> Path:
    """Write the batch of this shape and seed as JSONL; return the path."""
    with path.open("w") as file:
        for line in lines(shape, seed):
            file.write(json.dumps(line, separators=(",", ":")) + "\n")
    return path


def lines(shape: Shape, seed: int) -> Iterable[dict[str, Any]]:
    """Draw the lines one by one."""
    draw = random.Random(seed)
    prefixes = [_text(draw, shape.prefix_words) for _ in range(shape.prefixes)]
    models = [shape.models[number % len(shape.models)] for number in range(shape.lines)]
    draw.shuffle(models)
    for number, model in enumerate(models):
        messages = [{"role": "user", "content": f"{number}. {_text(draw, QUESTION_WORDS)}?"}]
        if draw.random() < shape.shared:
            messages.insert(0, {"role": "system", "content": draw.choice(prefixes)})
        yield line(f"line-{number}", model, messages, shape.tokens)


def line(custom_id: str, model: str, messages: Sequence[Message], tokens: int) -> dict[str, Any]:
    """Return one line of a batch that is answered greedily."""
    body = {
        "model": model,
        "messages": list(messages),
        "max_completion_tokens": tokens,
        "temperature": 0,
    }
    return {"custom_id": custom_id, "method": "POST", "url": URL, "body": body}


def answers(output: Iterable[bytes]) -> dict[str, str]:
    """Read an output file: the text of each answered line, by its custom id."""
    found = {}
    for each in output:
        document = json.loads(each)
        body = (document.get("response") or {}).get("body") or {}
        if choices := body.get("choices"):
            found[document["custom_id"]] = choices[0]["message"]["content"] or ""
    return found


def _text(draw: random.Random, words: int) -> str:
    return " ".join(draw.choices(WORDS, k=words))
