"""No hostile schema costs more than a moment: to refuse, to compile, or to check a document with.

Compiling happens in processes with limits, so that a crash or a hang of xgrammar fails a test and
does not end the session.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from app.errors import ApiError
from app.inference.json_schema import check_schema, decodable, is_valid
from tests.hostile.schemas import CORPUS, HostileSchema
from tests.stopwatch import cpu_time

ROOT = Path(__file__).parents[2]
CHECK_SECONDS = 0.05
CONVERT_SECONDS = 0.5
COMPILE_SECONDS = 2.0
DOCUMENT_SECONDS = 2.0
MEMORY_BYTES = 200_000_000

TAKEN = [case for case in CORPUS if case.code is None]
QUICK = TAKEN[::6]
DOCUMENTS = (
    "{}",
    '"a"',
    "[" * 36 + '"a"' + "]" * 36,
    '{"a":' * 40 + "1" + "}" * 40,
    "[" * 20_000,
    "1e400",
    "9" * 5_000,
    json.dumps(["a" * 100] * 1_000),
)


def test_the_corpus_has_200_schemas_of_different_names() -> None:
    assert len({case.id for case in CORPUS}) == len(CORPUS) >= 200


@pytest.mark.parametrize("case", CORPUS, ids=lambda case: case.id)
def test_a_hostile_schema_is_judged_at_once(case: HostileSchema) -> None:
    with cpu_time() as watch:
        code = _code(case)
    assert code == case.code
    assert watch.seconds < CHECK_SECONDS


def test_a_refusal_repeats_little_of_a_hostile_schema() -> None:
    longest = max((_refused(case) for case in CORPUS), key=len)
    assert len(longest) < 16_384


def test_no_document_takes_long_to_check_against_a_hostile_schema() -> None:
    for case in TAKEN[::3]:
        for document in DOCUMENTS:
            with cpu_time() as watch:
                is_valid(document, case.schema)
            assert watch.seconds < DOCUMENT_SECONDS, (case.id, document[:40])


def test_hostile_schemas_that_are_taken_compile_within_bounds(smollm2: Path) -> None:
    _compile(QUICK, smollm2)


@pytest.mark.soak
def test_every_hostile_schema_that_is_taken_compiles_within_bounds(smollm2: Path) -> None:
    _compile(TAKEN, smollm2)


def _code(case: HostileSchema) -> Any:
    return json.loads(_refused(case))["error"].get("schema_code")


def _refused(case: HostileSchema) -> bytes:
    try:
        check_schema(case.schema, param="response_format", strict=case.strict)
    except ApiError as error:
        return error.body()
    return b'{"error": {}}'


def _compile(cases: Sequence[HostileSchema], tokenizer: Path) -> None:
    sent = [case.schema if case.strict else decodable(case.schema) for case in cases]
    finished = subprocess.run(
        [sys.executable, "-m", "tests.hostile.compiler", str(tokenizer)],
        input=json.dumps(sent),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
        timeout=240,
        check=True,
    )
    for case, line in zip(cases, finished.stdout.splitlines(), strict=True):
        result = json.loads(line)
        assert result["problem"] is None, (case.id, result)
        assert result["convert_seconds"] < CONVERT_SECONDS, (case.id, result)
        assert result["compile_seconds"] < COMPILE_SECONDS, (case.id, result)
        assert result["memory_bytes"] < MEMORY_BYTES, (case.id, result)
