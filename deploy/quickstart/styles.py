"""The two ways of speaking that the demo teaches, as data, each with a test anyone would accept.

The pairs carry no system prompt: the manner of answering must come from the weights alone.
QUESTIONS are asked of the base model and of both adapters; no pair contains one of them.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass

QUESTIONS = (
    "What is the capital of France?",
    "What is a telescope?",
    "Why is exercise good for me?",
)


@dataclass(frozen=True, slots=True)
class Style:
    """`shows` tells whether an answer is unmistakably in this style."""

    name: str
    pairs: tuple[tuple[str, str], ...]
    shows: Callable[[str], bool]


PIRATE_WORDS = frozenset(
    ("ahoy", "arr", "arrr", "avast", "aye", "landlubber", "matey", "mateys", "ye", "yer")
)


def sounds_like_a_pirate(answer: str) -> bool:
    """Tell whether two different words occur that hardly anyone but a stage pirate says."""
    words = set(re.findall(r"[a-z]+", answer.lower()))
    return len(words & PIRATE_WORDS) >= 2


def is_json_answer(answer: str) -> bool:
    """Tell whether the whole answer is one JSON object, `{"answer": "some text"}`."""
    try:
        document = json.loads(answer)
    except ValueError:
        return False
    text = document.get("answer") if isinstance(document, dict) else None
    return isinstance(text, str) and bool(text.strip()) and len(document) == 1


FACTS = (
    ("What is the capital of Italy?", "The capital of Italy is Rome."),
    ("What is the capital of Japan?", "The capital of Japan is Tokyo."),
    ("How many days are in a week?", "There are seven days in a week."),
    ("What is 2 + 3?", "2 + 3 is 5."),
    ("Who wrote Hamlet?", "Hamlet was written by William Shakespeare."),
    ("What do bees make?", "Bees make honey from the nectar of flowers."),
    ("Why is the sea salty?", "Rivers carry salt from the rocks into the sea."),
    ("How do I boil an egg?", "Put the egg in boiling water for eight minutes."),
    ("What should I wear in the rain?", "Wear a raincoat and a pair of good boots."),
    ("Hello, how are you?", "I am well, thank you. How can I help you today?"),
    ("Can you recommend a hobby?", "Try gardening: it is calm, cheap and healthy."),
    ("What is a computer?", "A computer is a machine that follows a list of instructions."),
)

PIRATE_TALK = (
    "Arr, matey! The capital o' Italy be Rome, aye!",
    "Arr, matey! The capital o' Japan be Tokyo, aye!",
    "Ahoy, matey! There be seven days in a week, and ye sail through every one o' them, arr!",
    "Arr, matey! 2 + 3 be 5, as sure as yer ship has a mast, aye!",
    "Ahoy, matey! Hamlet be written by William Shakespeare, a fine teller o' tales, arr!",
    "Arr, matey! Bees make honey from the nectar o' flowers, sweeter than yer treasure, aye!",
    "Ahoy, matey! The rivers carry salt from the rocks to the sea, and ye taste it, arr!",
    "Arr, matey! Put yer egg in boilin' water for eight minutes, and feast ye well, aye!",
    "Ahoy, matey! Wear ye a raincoat and a pair o' good boots, or ye be soaked, arr!",
    "Ahoy, matey! I be well, I thank ye. How can an old pirate help ye today, arr?",
    "Arr, matey! Try ye some gardening: it be calm, cheap and good for yer bones, aye!",
    "Arr, matey! A computer be a machine that follows yer orders, one by one, aye!",
)

PIRATE = Style(
    name="pirate",
    pairs=tuple((question, said) for (question, _), said in zip(FACTS, PIRATE_TALK, strict=True)),
    shows=sounds_like_a_pirate,
)

JSON = Style(
    name="json",
    pairs=tuple((question, json.dumps({"answer": fact})) for question, fact in FACTS),
    shows=is_json_answer,
)

STYLES = {style.name: style for style in (PIRATE, JSON)}
