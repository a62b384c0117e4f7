"""What one process tries in its rounds: what is new, what is due again, and some refusals."""

from adapters_registry.sync import Publish
from app.adapters.bucket_actions import Outcome
from app.adapters.bucket_memory import SECOND_OPINIONS, BucketMemory
from app.adapters.bucket_repository import Known

A = "in/acme/base/a"
MARK = "1"


def refused(code: str = "rank_unsupported", applied: str = MARK) -> Known:
    return Known("base", applied, code, is_served=False)


def tries(memory: BucketMemory, outcome: Outcome, rounds: int, known: dict[str, Known]) -> int:
    """Return in how many of the rounds the one adapter was tried."""
    count = 0
    for _ in range(rounds):
        actions = memory.plan({A: MARK}, known, at=0)
        memory.note(dict.fromkeys(actions, outcome))
        count += len(actions)
    return count


def test_what_fails_is_tried_less_and_less_often() -> None:
    assert tries(BucketMemory(), Outcome.FAILED, 17, known={}) == 5


def test_what_is_still_being_written_is_tried_in_every_round() -> None:
    assert tries(BucketMemory(), Outcome.CHANGED, 17, known={}) == 16


def test_new_content_does_not_wait_for_the_failures_of_the_old() -> None:
    memory = BucketMemory()
    tries(memory, Outcome.FAILED, 9, known={})

    memory.plan({A: "2"}, {}, at=0)

    assert memory.plan({A: "2"}, {}, at=0) == [Publish(A, "2")]


def test_a_refusal_of_an_earlier_process_is_tried_once() -> None:
    assert tries(BucketMemory(), Outcome.REFUSED, 9, {A: refused()}) == 1


def test_a_second_opinion_that_could_not_be_had_is_asked_for_again() -> None:
    memory = BucketMemory()
    tries(memory, Outcome.FAILED, 1, {A: refused()})

    assert tries(memory, Outcome.REFUSED, 9, {A: refused()}) == 1


def test_a_refusal_given_while_this_process_runs_stands() -> None:
    memory = BucketMemory()
    memory.plan({}, {}, at=0)

    assert tries(memory, Outcome.REFUSED, 9, {A: refused()}) == 0


def test_a_refusal_by_the_engine_is_tried_again_less_and_less_often() -> None:
    memory = BucketMemory()
    memory.plan({}, {}, at=0)

    assert tries(memory, Outcome.REFUSED, 16, {A: refused("load_failed")}) == 5


def test_a_refusal_of_content_that_is_gone_is_not_tried_again() -> None:
    memory = BucketMemory()

    assert memory.plan({A: "2"}, {A: refused()}, at=0) == []


def test_new_adapters_do_not_wait_for_all_refusals_to_be_tried_again() -> None:
    memory = BucketMemory()
    doubtful = {f"in/acme/base/r{n}": refused() for n in range(3 * SECOND_OPINIONS)}
    marks = dict.fromkeys(doubtful, MARK) | {A: MARK}

    first, *later = (plan_of_a_round(memory, marks, doubtful) for _ in range(5))

    assert len(first) == SECOND_OPINIONS
    assert later[0][0] == Publish(A, MARK)
    assert {p.source for p in [*first, *(p for actions in later for p in actions)]} == {*marks}


def plan_of_a_round(
    memory: BucketMemory, marks: dict[str, str], known: dict[str, Known]
) -> list[Publish]:
    actions = memory.plan(marks, known, at=0)
    memory.note(dict.fromkeys(actions, Outcome.REFUSED))
    return [action for action in actions if isinstance(action, Publish)]
