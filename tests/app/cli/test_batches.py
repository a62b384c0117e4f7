"""`lora-api batches` against a real HTTP server, whose worker is this test."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.batches.types import BatchError
from app.cli.batches import first_url
from tests.app.cli.batch_scene import CHAT, Scene, is_look, scene
from tests.fixtures.fault_proxy import (
    Answer,
    Exchange,
    Request,
    broken_off,
    refused,
    reset,
)
from tests.fixtures.server import LORA_API

END_SECONDS = 60.0

__all__ = ["scene"]


def is_download(request: Request) -> bool:
    return request.target.endswith("/content")


def posts(path: str) -> Callable[[Request], bool]:
    return lambda request: (request.method, request.target) == ("POST", path)


async def answer_lost(exchange: Exchange) -> bool:
    """Do what was asked, and cut the connection instead of answering."""
    await exchange.forward()
    return await reset(exchange)


def test_a_file_of_requests_becomes_a_file_of_answers(scene: Scene) -> None:
    worker = scene.worker
    scene.plan(lambda: worker.begins(2), lambda: worker.ends(output=['{"a": 1}', '{"b": 2}']))

    done = scene.run()

    assert done.exit_code == 0
    (id,) = scene.made()
    assert re.fullmatch(rf"{id} completed after 0:00:\d\d, 2 of 2 lines succeeded\n", done.stdout)
    assert scene.output.read_text() == '{"a": 1}\n{"b": 2}\n'
    assert scene.customer.files() == ["output.jsonl", "input.jsonl"]


def test_failed_lines_have_a_file_and_an_exit_status_of_their_own(scene: Scene) -> None:
    scene.plan(lambda: scene.worker.ends(output=["{}"], errors=['{"error": 1}', "{}"]))

    done = scene.run("--errors", scene.errors)

    assert done.exit_code == 3
    assert done.stdout.endswith(", 1 of 3 lines succeeded, 2 failed\n")
    assert scene.errors.read_text() == '{"error": 1}\n{}\n'
    assert "Why lines failed" not in done.stderr


def test_without_a_file_for_them_it_is_told_how_to_have_the_failed_lines(scene: Scene) -> None:
    scene.plan(lambda: scene.worker.ends(output=["{}"], errors=["{}"]))
    done = scene.run()
    (id,) = scene.made()
    told = f"Why lines failed: lora-api batches download {id} --errors errors.jsonl\n"
    assert done.stderr.endswith(told)
    assert not scene.errors.exists()


def test_named_files_hold_this_batch_s_lines_even_if_there_are_none(scene: Scene) -> None:
    scene.output.write_text("of an earlier batch")
    scene.plan(lambda: scene.worker.ends(errors=["{}"]))
    done = scene.run("--errors", scene.errors)
    assert done.exit_code == 3
    assert scene.output.read_bytes() == b""
    assert scene.errors.read_bytes() == b"{}\n"


def test_what_is_wrong_with_the_input_is_told_line_by_line(scene: Scene) -> None:
    scene.output.write_text("of an earlier batch")
    bad_line = BatchError("invalid_method", "'method' : value must be `POST`", "method", 4)
    scene.plan(
        lambda: scene.worker.refuses(bad_line, BatchError("too_many_tasks", "At most 2 lines."))
    )

    done = scene.run()

    assert done.exit_code == 1
    assert done.stdout.startswith(f"{scene.made()[0]} failed after 0:00:0")
    assert done.stderr.endswith(
        "line 4: invalid_method: 'method' : value must be `POST`\n"
        "input file: too_many_tasks: At most 2 lines.\n"
    )
    assert scene.output.read_text() == "of an earlier batch"


@pytest.mark.parametrize("status", ["expired", "cancelled"])
def test_a_batch_that_ended_early_gives_what_it_has_and_counts_as_failed(
    scene: Scene, status: Any
) -> None:
    scene.plan(lambda: scene.worker.ends(status, output=["{}"], errors=["{}"]))
    done = scene.run()
    assert done.exit_code == 1
    assert f" {status} after 0:00:0" in done.stdout
    assert scene.output.read_bytes() == b"{}\n"


@pytest.mark.parametrize("path", ["/v1/files", "/v1/batches"])
def test_a_create_whose_answer_was_lost_is_made_once(scene: Scene, path: str) -> None:
    scene.proxy.inject(answer_lost, on=posts(path), times=1)
    scene.plan(lambda: scene.worker.ends(output=["{}"]))

    done = scene.run()

    assert done.exit_code == 0, done.output
    assert len(scene.asked("POST", path)) == 2
    assert len(scene.made()) == 1
    assert scene.customer.files() == ["output.jsonl", "input.jsonl"]


def test_a_server_that_is_away_for_a_while_is_waited_for(scene: Scene) -> None:
    scene.plan(lambda: scene.worker.begins(2))
    scene.proxy.inject(reset, on=is_look, times=1)
    scene.proxy.inject(refused(503, "unavailable"), on=is_look, times=1)
    scene.plan(lambda: scene.worker.ends(output=["{}"]))

    done = scene.run()

    assert done.exit_code == 0
    assert done.stderr.splitlines()[1:] == [
        "in_progress, 0/2",
        "the server does not answer, asking again in 1 s",
        "the server answers again",
    ]


def test_a_download_that_was_broken_off_goes_on(scene: Scene) -> None:
    lines = [json.dumps({"number": n, "text": "x" * 1000}) for n in range(300)]
    scene.plan(lambda: scene.worker.ends(output=lines))
    scene.proxy.inject(broken_off(), on=is_download, times=1)

    done = scene.run()

    assert done.exit_code == 0
    assert scene.output.read_text().splitlines() == lines
    _, again = scene.asked("GET", "/v1/files/")
    assert any(name.lower() == "range" for name, _ in again.headers)


def test_a_download_that_fails_leaves_the_file_as_it_was(scene: Scene) -> None:
    scene.output.write_text("of an earlier batch")
    scene.plan(lambda: scene.worker.ends(output=["{}"]))
    scene.proxy.inject(refused(404, "gone"), on=is_download)
    done = scene.run()
    assert done.exit_code == 1
    assert scene.output.read_text() == "of an earlier batch"
    assert sorted(path.name for path in scene.room.iterdir()) == ["input.jsonl", "output.jsonl"]


def test_a_refused_batch_leaves_no_upload_behind(scene: Scene) -> None:
    done = scene.run("--window", "1h")
    assert done.exit_code == 1
    assert done.stdout == ""
    assert "24h" in done.stderr
    assert scene.customer.files() == []


def test_a_key_that_is_wrong_is_told_before_anything_is_uploaded(scene: Scene) -> None:
    body = b'{"error": {"message": "Invalid API Key", "code": "invalid_api_key"}}'

    async def unauthorized(exchange: Exchange) -> bool:
        await exchange.send(Answer("401 Unauthorized", (), body))
        return True

    scene.proxy.inject(unauthorized)
    done = scene.run()
    assert done.exit_code == 1
    assert done.stderr == "Error: Invalid API Key\ncode: invalid_api_key\n"
    assert len(scene.proxy.requests) == 1


def test_a_server_that_was_never_there_is_not_waited_for(scene: Scene) -> None:
    done = scene.run(LORA_API_BASE_URL="http://127.0.0.1:9")
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: http://127.0.0.1:9 does not answer: ")


def test_the_endpoint_and_the_window_are_sent_as_given(scene: Scene) -> None:
    scene.plan(lambda: scene.worker.refuses())
    scene.run("--endpoint", "/v1/embeddings", "--window", "7d")
    (batch,) = json.loads(scene.batches("list", "--json").stdout)
    assert (batch["endpoint"], batch["completion_window"]) == ("/v1/embeddings", "7d")


def test_without_an_endpoint_it_is_the_first_line_s(scene: Scene) -> None:
    scene.plan(lambda: scene.worker.refuses())
    path = scene.input("/openai/v1/embeddings", CHAT)
    scene.batches("run", path, "-o", scene.output)
    (batch,) = json.loads(scene.batches("list", "--json").stdout)
    assert batch["endpoint"] == "/v1/embeddings"


@pytest.mark.parametrize(
    "line", [b"", b"{", b"[]", b"{}", b'{"url": 1}', b'{"url": ""}', b"\xff", b"[" * 100_000]
)
def test_a_first_line_that_says_no_url_is_the_server_s_to_judge(
    tmp_path: Path, line: bytes
) -> None:
    path = tmp_path / "input.jsonl"
    path.write_bytes(line)
    assert first_url(path) == CHAT


def test_a_file_of_any_name_is_uploaded_as_jsonl(scene: Scene) -> None:
    scene.plan(lambda: scene.worker.refuses())
    scene.batches("run", scene.input(name="input.txt"), "-o", scene.output)
    assert scene.customer.files() == ["input.txt.jsonl"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "absent.jsonl", "-o", "output.jsonl"),
        ("run", "input.jsonl"),
        ("run", "input.jsonl", "-o", "input.jsonl"),
        ("run", "input.jsonl", "-o", "output.jsonl", "--errors", "output.jsonl"),
        ("run", "input.jsonl", "-o", "absent/output.jsonl"),
        ("run", "input.jsonl", "-o", "."),
        ("download", "batch_x"),
    ],
)
def test_wrong_usage_is_told_before_the_server_is_asked(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    scene.input()
    monkeypatch.chdir(scene.room)
    done = scene.batches(*arguments)
    assert done.exit_code == 2
    assert scene.proxy.requests == []


def test_a_batch_can_be_watched_and_downloaded_later(scene: Scene) -> None:
    id = scene.make(lambda: scene.worker.ends(output=["{}"], errors=["{}"]))

    watched = scene.batches("watch", id)
    assert watched.exit_code == 3
    assert watched.stdout.startswith(f"{id} completed after ")
    assert f"The answers: lora-api batches download {id} -o output.jsonl\n" in watched.stderr

    got = scene.batches("download", id, "-o", scene.output, "--errors", scene.errors)
    assert got.exit_code == 3
    assert scene.output.read_bytes() == scene.errors.read_bytes() == b"{}\n"


def test_a_batch_that_still_runs_has_nothing_to_download(scene: Scene) -> None:
    id = scene.make(lambda: scene.worker.begins(2))
    done = scene.batches("download", id, "-o", scene.output)
    assert done.exit_code == 1
    assert done.stderr.startswith(f"Error: {id} is in_progress; ")
    assert not scene.output.exists()


def test_an_unknown_batch_shows_the_server_s_words(scene: Scene) -> None:
    for command in ("watch", "show", "cancel"):
        done = scene.batches(command, "batch_x")
        assert (done.exit_code, done.stdout) == (1, "")
        assert done.stderr.startswith("Error: No such batch object: batch_x\n")


def test_a_list_has_a_line_for_each_batch_newest_first(scene: Scene) -> None:
    first = scene.make(lambda: scene.worker.ends(output=["{}"]))
    second = scene.make(lambda: scene.worker.begins(5), lambda: scene.worker.counts(2, 1))
    head, *lines = scene.batches("list").stdout.splitlines()
    assert head.split() == ["id", "status", "done/lines", "created", "(UTC)"]
    assert [line.split()[:3] for line in lines] == [
        [second, "in_progress", "3/5"],
        [first, "completed", "1/1"],
    ]
    assert scene.batches("list", "--limit", "1").stdout.splitlines() == [head, lines[0]]


def test_an_organisation_without_batches_is_told_so(scene: Scene) -> None:
    done = scene.batches("list")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "No batches.\n")
    assert scene.batches("list", "--json").stdout == "[]\n"


def test_more_batches_than_a_page_holds_are_listed_to_the_end(scene: Scene) -> None:
    scene.make()
    scene.customer.replica.run(scene.worker.copies(130))
    assert len(scene.batches("list", "--limit", "500").stdout.splitlines()) == 132


def test_a_batch_is_shown_for_people_and_for_scripts(scene: Scene) -> None:
    id = scene.make(lambda: scene.worker.refuses(BatchError("empty_file", "It is empty.")))
    lines = scene.batches("show", id).stdout.splitlines()
    assert lines[0].split() == ["id", id]
    assert lines[1].split() == ["status", "failed"]
    assert lines[-1] == "input file: empty_file: It is empty."
    batch = json.loads(scene.batches("show", id, "--json").stdout)
    assert (batch["id"], batch["errors"]["data"][0]["code"]) == (id, "empty_file")


def test_a_running_batch_can_be_cancelled_and_an_ended_one_cannot(scene: Scene) -> None:
    id = scene.make(lambda: scene.worker.begins(2))
    assert scene.batches("cancel", id).stdout == f"{id} is cancelling\n"
    scene.customer.replica.run(scene.worker.ends("cancelled"))
    done = scene.batches("cancel", id)
    assert done.exit_code == 1
    assert "code: batch_not_cancellable\n" in done.stderr


@pytest.mark.parametrize("terminal", ["0", "1"])
def test_an_interrupted_command_leaves_the_batch_running_and_says_how_to_go_on(
    scene: Scene, terminal: str
) -> None:
    id = scene.make(lambda: scene.worker.begins(2))
    environment = {
        "LORA_API_BASE_URL": scene.proxy.url,
        "LORA_API_KEY": scene.customer.org_id,
        "TTY_COMPATIBLE": terminal,
        "TERM": "xterm",
        "COLUMNS": "200",
    }
    command = [str(LORA_API), "batches", "watch", id]
    with subprocess.Popen(
        command,
        env={**os.environ, **environment},
        stderr=subprocess.PIPE,
        text=True,
        # Tests that run in the background of a shell ignore it, and so would the command.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as watching:
        assert watching.stderr is not None
        try:
            assert "in_progress" in watching.stderr.readline()
            watching.send_signal(signal.SIGINT)
            watching.wait(END_SECONDS)
            told = watching.stderr.read()
        finally:
            watching.kill()
    assert watching.returncode == 130
    for way in ("watch", "download", "cancel"):
        assert f"  lora-api batches {way} {id}" in told
    assert json.loads(scene.batches("show", id, "--json").stdout)["status"] == "in_progress"
