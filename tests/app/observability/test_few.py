"""Names in labels are bounded, and those that have one keep it while they use it."""

from app.observability.few import OTHER, Few


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_first_have_names_and_the_others_share_one() -> None:
    few = Few(2, lambda _: None)
    assert [few.label(id) for id in ("a", "b", "c", "a", "d")] == ["a", "b", OTHER, "a", OTHER]


def test_a_name_unused_for_long_is_given_up_for_who_wants_one() -> None:
    clock, forgotten = Clock(), list[str]()
    few = Few(2, forgotten.append, idle_seconds=10, clock=clock)
    few.label("a")
    few.label("b")
    clock.now = 9.0
    few.label("a")
    clock.now = 11.0
    assert few.label("c") == "c"
    assert few.label("d") == OTHER
    assert forgotten == ["b"]


def test_a_name_unused_for_long_stays_while_nobody_wants_its_place() -> None:
    clock, forgotten = Clock(), list[str]()
    few = Few(2, forgotten.append, idle_seconds=10, clock=clock)
    few.label("a")
    clock.now = 100.0
    assert few.label("b") == "b"
    assert forgotten == []


def test_with_no_names_at_all_everybody_is_another() -> None:
    few = Few(0, lambda _: None)
    assert few.label("a") == OTHER
