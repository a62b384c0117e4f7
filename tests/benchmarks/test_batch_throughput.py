import pytest

from benchmarks.batch_throughput import OURS, PEER, PLAIN_PEER, Answered, rows
from benchmarks.workloads import Shape

SHAPE = Shape(lines=2, tokens=16, models=("base",))
TEXTS = {"a": "one", "b": "two"}


def test_each_peer_gets_a_row_with_the_ratio_of_times() -> None:
    found = {
        OURS: [Answered(1.0, 2.0, TEXTS)] * 2,
        PEER: [Answered(2.0, 2.0, TEXTS)] * 2,
        PLAIN_PEER: [Answered(4.0, 4.0, TEXTS)] * 2,
    }

    first, second = rows("plain", SHAPE, found)

    assert [first[2], second[2]] == [PEER, PLAIN_PEER]
    assert first[5] == "2.00 (2.00–2.00)"
    assert first[6] == "1.00 (1.00–1.00)"
    assert second[5] == "4.00 (4.00–4.00)"


@pytest.mark.parametrize("theirs", [{"a": "one"}, {"a": "one", "b": "2"}])
def test_no_speed_is_told_where_answers_differ(theirs: dict[str, str]) -> None:
    found = {OURS: [Answered(1.0, 1.0, TEXTS)], PEER: [Answered(2.0, 2.0, theirs)]}

    (row,) = rows("plain", SHAPE, found)

    assert row[3:7] == ["-"] * 4
    assert row[7] == "1 of 2"
