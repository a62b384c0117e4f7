"""A style's predicate accepts its own training answers and refuses ordinary ones."""

import pytest

from deploy.quickstart.styles import FACTS, JSON, PIRATE, QUESTIONS, STYLES, Style

styles = pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)


@styles
def test_every_training_answer_shows_its_style(style: Style) -> None:
    assert all(style.shows(answer) for _, answer in style.pairs)


@styles
def test_no_plain_fact_shows_a_style(style: Style) -> None:
    assert not any(style.shows(fact) for _, fact in FACTS)


@styles
def test_no_question_of_the_demo_was_trained_on(style: Style) -> None:
    assert not set(QUESTIONS) & {question for question, _ in style.pairs}


@pytest.mark.parametrize("answer", ["Ahoy! Paris be it, matey.", "ARR, yer tea be ready."])
def test_two_pirate_words_make_a_pirate(answer: str) -> None:
    assert PIRATE.shows(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "Paris is the capital of France.",
        "The sailor said aye.",
        "Arr arr arr",
        "Yesterday the matador carried arrows and rye.",
    ],
)
def test_one_pirate_word_or_parts_of_words_do_not(answer: str) -> None:
    assert not PIRATE.shows(answer)


@pytest.mark.parametrize("answer", ['{"answer": "Paris."}', ' {"answer": "Say \\"hi\\"."}\n'])
def test_one_object_with_a_textual_answer_is_json(answer: str) -> None:
    assert JSON.shows(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "Paris",
        '"Paris"',
        '["answer"]',
        "{}",
        '{"answer": ""}',
        '{"answer": 5}',
        '{"answer": "Paris", "sure": true}',
        '{"answer": "Par',
        'Here it is: {"answer": "Paris"}',
    ],
)
def test_anything_else_is_not(answer: str) -> None:
    assert not JSON.shows(answer)
