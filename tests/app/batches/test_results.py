"""The text of results, and what is read of it again."""

import json
from collections.abc import AsyncIterator

from hypothesis import given
from hypothesis import strategies as st

from app.batches.results import (
    Asked,
    Result,
    answered,
    not_executed,
    number_of,
    part_line,
    read_part_line,
    split_lines,
)

BATCH = "batch_01jh6x76wtemjr74t1fh0faj5t"
texts = st.text(st.characters(exclude_categories=[]), max_size=20)


@given(custom_id=texts, content=texts, indent=st.sampled_from([None, 2]))
def test_any_answer_is_one_line_that_reads_back(
    custom_id: str, content: str, indent: int | None
) -> None:
    body = {"content": content, "n": [1, {}]}
    written = json.dumps(body, indent=indent).encode()
    result = answered(Asked(BATCH, 3, custom_id), 200, "req_1", written)
    assert len(result.text.splitlines()) == 1
    told = json.loads(result.text)
    assert list(told) == ["id", "custom_id", "response", "error"]
    assert (told["custom_id"], told["error"]) == (custom_id, None)
    assert told["response"] == {"status_code": 200, "request_id": "req_1", "body": body}
    assert read_part_line(part_line(result)) == result


def test_a_line_without_an_answer_says_why() -> None:
    result = not_executed(Asked(BATCH, 3, "a"), "batch_expired")
    told = json.loads(result.text)
    assert (result.is_ok, told["response"], told["error"]["code"]) == (False, None, "batch_expired")


def test_only_successes_are_ok() -> None:
    asked = Asked(BATCH, 3, "a")
    assert answered(asked, 200, "r", b"{}").is_ok
    assert not answered(asked, 404, "r", b"{}").is_ok


def test_ids_depend_on_batch_and_number_alone() -> None:
    other = "batch_01jh6x76wtemjr74t1fh0faj5v"
    asked = [Asked(BATCH, 1, "a"), Asked(BATCH, 1, "b"), Asked(BATCH, 2, "a"), Asked(other, 1, "a")]
    ids = [json.loads(not_executed(each, "batch_expired").text)["id"] for each in asked]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3
    assert all(id.startswith("batch_req_") and len(id) == 36 for id in ids)


def test_the_number_is_read_without_the_rest() -> None:
    assert number_of(part_line(Result(12, True, b"{}"))) == 12


@given(st.lists(st.binary(max_size=5).filter(lambda line: b"\n" not in line)), st.integers(1, 7))
async def test_lines_come_whole_however_they_are_cut(lines: list[bytes], size: int) -> None:
    written = b"".join(line + b"\n" for line in lines)

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(written), size):
            yield written[start : start + size]

    assert [line async for line in split_lines(pieces())] == lines
