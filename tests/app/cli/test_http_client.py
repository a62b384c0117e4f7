"""What a user is told when a call of the command line fails."""

import httpx
import pytest
import typer
from typer.testing import CliRunner, Result

from app.cli import main
from app.cli.http_client import answer, printable


def test_a_body_is_returned() -> None:
    assert answer(httpx.Response(200, json={"a": 1})) == {"a": 1}


def test_an_error_shows_message_code_and_param(capsys: pytest.CaptureFixture[str]) -> None:
    param = "base_model.model." + "model.layers.0." * 10 + "weight"
    error = {"message": "[bold]Got[/] it.\nNo.", "code": "shape_mismatch", "param": param}
    with pytest.raises(typer.Exit) as caught:
        answer(httpx.Response(400, json={"error": error}))
    assert caught.value.exit_code == 1
    told = f"Error: [bold]Got[/] it.\ufffdNo.\ncode: shape_mismatch\nparam: {param}\n"
    assert capsys.readouterr().err == told


def test_an_error_without_code_and_param_is_just_its_message(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(typer.Exit):
        answer(httpx.Response(401, json={"error": {"message": "Invalid API Key"}}))
    assert capsys.readouterr().err == "Error: Invalid API Key\n"


@pytest.mark.parametrize(
    ("status", "content"),
    [
        (200, b"<html>"),
        (200, b"[]"),
        (204, b""),
        (502, b"<html>"),
        (502, b"[]"),
        (400, b'{"error": "x"}'),
        (400, b'{"error": {}}'),
        (400, b"\xff"),
    ],
)
def test_an_answer_of_something_else_shows_its_status(
    capsys: pytest.CaptureFixture[str], status: int, content: bytes
) -> None:
    with pytest.raises(typer.Exit):
        answer(httpx.Response(status, content=content))
    assert f"answered {status}" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b'{"error": {"message": "Down."}}', b"<html>"])
def test_a_failure_of_the_server_shows_the_request_s_id(
    capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    with pytest.raises(typer.Exit):
        answer(httpx.Response(503, content=content, headers={"x-request-id": "req_1"}))
    assert capsys.readouterr().err.endswith("\nrequest id: req_1\n")


def test_a_refusal_shows_no_request_id(capsys: pytest.CaptureFixture[str]) -> None:
    body = {"error": {"message": "No."}}
    with pytest.raises(typer.Exit):
        answer(httpx.Response(400, json=body, headers={"x-request-id": "req_1"}))
    assert capsys.readouterr().err == "Error: No.\n"


def calling(url: str, key: str = "gsk_secret") -> Result:
    return CliRunner().invoke(main, ["adapters", "list", "--api-key", key, "--base-url", url])


def test_a_server_that_is_not_there_is_said_so() -> None:
    done = calling("http://127.0.0.1:9")
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: http://127.0.0.1:9 does not answer: ")
    assert "gsk_secret" not in done.output


@pytest.mark.parametrize("url", ["foo", "127.0.0.1:8000", "http://", "http://x:y", "gopher://x"])
def test_what_is_no_address_is_said_so(url: str) -> None:
    done = calling(url)
    assert done.exit_code == 1
    assert done.stderr.startswith(f"Error: {url} is no address of a server, such as http://")


@pytest.mark.parametrize("key", ["gsk_secret\n", "gsk_secret\u00e9", "gsk secret"])
def test_a_key_that_no_header_can_carry_is_refused_and_not_shown(key: str) -> None:
    done = calling("http://127.0.0.1:9", key)
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: The API key ")
    assert "secret" not in done.output


def test_control_characters_do_not_reach_the_terminal() -> None:
    assert printable("a\x1b[2Jb\nc\u202ed é🏴") == "a\ufffd[2Jb\ufffdc\ufffdd é🏴"
