"""The demo succeeds only when adapters show their style and the base model shows none."""

from deploy.quickstart.conversation import Answer
from deploy.quickstart.styles import JSON, PIRATE
from deploy.quickstart.verdict import failures

PLAIN = Answer("Paris is the capital.", 0.1)
SAILOR = Answer("Arr, matey! Paris be it.", 0.1)
OBJECT = Answer('{"answer": "Paris"}', 0.1)


def test_all_in_style_and_a_plain_base_is_success() -> None:
    assert failures((PIRATE, JSON), [PLAIN], {"pirate": [SAILOR], "json": [OBJECT]}) == []


def test_an_adapter_that_answers_plainly_is_named() -> None:
    (sentence,) = failures((PIRATE,), [PLAIN], {"pirate": [SAILOR, PLAIN]})

    assert "pirate adapter" in sentence
    assert PLAIN.text in sentence


def test_a_base_model_that_shows_a_style_is_named() -> None:
    (sentence,) = failures((JSON,), [PLAIN, OBJECT], {"json": [OBJECT]})

    assert sentence.startswith("The base model")
