"""How many rounds pass between two tries of what fails."""

from app.adapters.backoff import LONGEST, Backoff


def tries(backoff: Backoff[str], rounds: int) -> list[int]:
    """Fail each time; return the numbers of the rounds in which there was a try."""
    tried = []
    for number in range(rounds):
        if backoff.due(["a"]):
            tried.append(number)
            backoff.failed("a")
    return tried


def test_each_failure_doubles_the_rounds_between_two_tries() -> None:
    assert tries(Backoff(), 16) == [0, 1, 3, 7, 15]


def test_what_fails_for_ever_is_tried_for_ever() -> None:
    last, previous = reversed(tries(Backoff(), 20 * LONGEST)[-2:])

    assert last - previous == LONGEST


def test_what_did_not_fail_is_due_in_every_round() -> None:
    backoff = Backoff[str]()
    tries(backoff, 4)

    assert backoff.due(["b", "a"]) == ["b"]


def test_what_was_not_wanted_for_a_round_starts_anew() -> None:
    backoff = Backoff[str]()
    tries(backoff, 4)

    backoff.due([])

    assert backoff.due(["a"]) == ["a"]
