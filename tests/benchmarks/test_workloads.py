import json
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.workloads import Shape, answers, lines, write

PLAIN = Shape(lines=50, tokens=16, models=("base",))
SHARED = Shape(400, 16, ("base",), shared=0.8, prefixes=3, prefix_words=40)


def prompts(shape: Shape, seed: int) -> list[str]:
    return [each["body"]["messages"][-1]["content"] for each in lines(shape, seed)]


def prefixes(shape: Shape, seed: int) -> Counter[str]:
    messages = (each["body"]["messages"] for each in lines(shape, seed))
    return Counter(two[0]["content"] for two in messages if len(two) == 2)


def test_one_seed_gives_one_file(tmp_path: Path) -> None:
    first = write(SHARED, 7, tmp_path / "first").read_bytes()

    assert write(SHARED, 7, tmp_path / "second").read_bytes() == first


def test_two_seeds_share_no_prompt() -> None:
    assert not set(prompts(PLAIN, 1)) & set(prompts(PLAIN, 2))
    assert not set(prefixes(SHARED, 1)) & set(prefixes(SHARED, 2))


def test_prompts_and_ids_are_unique() -> None:
    ids = [each["custom_id"] for each in lines(PLAIN, 1)]

    assert len(set(ids)) == len(set(prompts(PLAIN, 1))) == PLAIN.lines


def test_about_the_asked_share_of_lines_begins_with_a_shared_prefix() -> None:
    found = prefixes(SHARED, 1)

    assert len(found) == SHARED.prefixes
    assert found.total() / SHARED.lines == pytest.approx(SHARED.shared, abs=0.06)


def test_every_model_gets_as_many_lines_and_none_a_block() -> None:
    shape = Shape(90, 16, ("a", "b", "c"))
    models = [each["body"]["model"] for each in lines(shape, 1)]

    assert Counter(models) == {"a": 30, "b": 30, "c": 30}
    assert set(models[:30]) == {"a", "b", "c"}


def test_lines_are_greedy_requests_of_the_batch_format(tmp_path: Path) -> None:
    first = json.loads(write(PLAIN, 1, tmp_path / "file").read_text().splitlines()[0])

    assert first["method"] == "POST"
    assert first["url"] == "/v1/chat/completions"
    assert first["body"]["temperature"] == 0
    assert first["body"]["max_completion_tokens"] == PLAIN.tokens


def test_answers_are_read_from_both_sides_files_and_failures_have_none() -> None:
    def output(custom_id: str, body: object) -> bytes:
        line = {"custom_id": custom_id, "response": {"status_code": 200, "body": body}}
        return json.dumps(line).encode()

    told = {"choices": [{"message": {"content": "Hello."}}]}
    failed = json.dumps({"custom_id": "c", "response": None, "error": {"code": "x"}}).encode()

    assert answers([output("a", told), output("b", None), failed]) == {"a": "Hello."}
