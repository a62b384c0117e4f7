"""Hostile and mistaken requests: a clear 4xx, nothing stored, nothing leaked, engine unharmed."""

import io
import json
import zipfile
from collections.abc import Iterator

import httpx
import pytest

from app import routes
from tests.fixtures.server import SMOLLM2, Server

pytestmark = pytest.mark.engine

LEAKS = ("Traceback", "site-packages", "sqlite", "/tmp", ".safetensors'", "Errno")
OPEN_ROUTES = {"/health/live", "/health/ready", "/metrics"}


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {server.key('tester')}"}
    with httpx.Client(base_url=server.url, headers=headers, timeout=120) as client:
        yield client


def assert_refused(response: httpx.Response, *statuses: int) -> dict[str, str]:
    assert response.status_code in statuses, response.text
    assert response.headers["x-request-id"].startswith("req_")
    assert not [leak for leak in LEAKS if leak in response.text]
    error: dict[str, str] = response.json()["error"]
    assert error["message"]
    assert error["type"]
    return error


def assert_still_answers(client: httpx.Client) -> None:
    body = {"model": SMOLLM2, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}
    assert client.post("/v1/chat/completions", json=body).status_code == 200


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Bearer gsk_wrong", "Basic eA=="])
def test_a_missing_and_a_wrong_key_are_told_alike(
    server: Server, authorization: str | None
) -> None:
    headers = {} if authorization is None else {"authorization": authorization}
    response = httpx.get(f"{server.url}/openai/v1/models", headers=headers)

    error = assert_refused(response, 401)
    assert error["code"] == "invalid_api_key"
    assert error["message"] == "Invalid API Key"


@pytest.mark.parametrize("host", ["example.com/?", "a#b", "x@y", "/health/live?"])
def test_no_host_header_opens_a_route(server: Server, host: str) -> None:
    for path in ("/v1/models", "/v1/files", "/v1/fine_tunings"):
        response = httpx.get(server.url + path, headers={"host": host})
        assert response.status_code in (400, 401)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b'{"model": NaN}', b"[" * 100_000],
    ids=["empty", "cut", "list", "null", "string", "not-utf8", "nan", "deep"],
)
def test_a_body_that_is_no_json_object_is_refused(client: httpx.Client, body: bytes) -> None:
    response = client.post("/v1/chat/completions", content=body)
    assert_refused(response, 400)


def test_a_huge_body_is_refused(client: httpx.Client) -> None:
    body = json.dumps(
        {"model": SMOLLM2, "messages": [{"role": "user", "content": "x" * 20_000_000}]}
    )
    assert_refused(client.post("/v1/chat/completions", content=body), 413)


def test_a_prompt_beyond_the_context_says_so(client: httpx.Client) -> None:
    body = {"model": SMOLLM2, "messages": [{"role": "user", "content": "word " * 5000}]}
    error = assert_refused(client.post("/v1/chat/completions", json=body), 400)
    assert error["code"] == "context_length_exceeded"


@pytest.mark.parametrize("stream", [False, True])
def test_an_unknown_model_is_a_plain_404_also_for_streams(
    client: httpx.Client, stream: bool
) -> None:
    body = {"model": "no-such", "messages": [{"role": "user", "content": "Hi"}], "stream": stream}
    error = assert_refused(client.post("/v1/chat/completions", json=body), 404)
    assert error["code"] == "model_not_found"
    assert error["message"] == "The model `no-such` does not exist or you do not have access to it."


@pytest.mark.parametrize(
    "field", ["min_p", "guided_json", "cache_salt", "priority", "chat_template"]
)
def test_vllm_fields_are_refused(client: httpx.Client, field: str) -> None:
    messages = [{"role": "user", "content": "Hi"}]
    body = {"model": SMOLLM2, "messages": messages, field: 1}
    error = assert_refused(client.post("/v1/chat/completions", json=body), 400)
    assert error["message"].startswith(f"property '{field}' is unsupported")


def test_an_unknown_path_is_named(client: httpx.Client) -> None:
    error = assert_refused(client.get("/openai/v1/nothing"), 404)
    assert error["code"] == "unknown_url"
    assert "GET /openai/v1/nothing" in error["message"]


def make_zip(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


CONFIG = b'{"r": 8, "lora_alpha": 16, "target_modules": ["q_proj"]}'


@pytest.mark.parametrize(
    ("archive", "code"),
    [
        (b"PK\x03\x04 this is not a zip", "zip_invalid"),
        (make_zip({}), "zip_members"),
        (make_zip({"../evil": b"x", "adapter_config.json": CONFIG}), "zip_members"),
        (make_zip({"adapter_model.bin": b"x", "adapter_config.json": CONFIG}), "zip_members"),
        (
            make_zip({"adapter_model.safetensors": b"\xff" * 64, "adapter_config.json": CONFIG}),
            "safetensors_invalid",
        ),
        (
            make_zip({"adapter_model.safetensors": b"", "adapter_config.json": b"{"}),
            None,
        ),
    ],
    ids=["not-a-zip", "empty", "path", "pickle", "garbage-weights", "bad-config"],
)
def test_a_bad_adapter_gets_a_verdict_and_leaves_no_trace(
    client: httpx.Client, archive: bytes, code: str | None
) -> None:
    files = {"file": ("bad.zip", archive, "application/zip")}
    uploaded = client.post("/v1/files", data={"purpose": "fine_tuning"}, files=files)
    assert uploaded.status_code == 200, uploaded.text
    body = {"input_file_id": uploaded.json()["id"], "name": "bad", "base_model": SMOLLM2}

    error = assert_refused(client.post("/v1/fine_tunings", json=body), 400)

    assert code is None or error["code"] == code
    assert client.get("/v1/fine_tunings").json()["data"] == []
    assert_still_answers(client)


@pytest.mark.parametrize(
    "name", ["", "UPPER", "a" * 64, "-a", "a-", "a/b", "a\n", "ft:x", "n-0123456789ab"]
)
def test_a_bad_name_is_refused(client: httpx.Client, name: str) -> None:
    body = {"input_file_id": "file_01jh6x76wtemjr74t1fh0faj5t", "name": name, "base_model": SMOLLM2}
    error = assert_refused(client.post("/v1/fine_tunings", json=body), 400)
    assert error["param"] == "name"


def test_an_upload_that_is_no_zip_is_refused_before_it_is_stored(client: httpx.Client) -> None:
    before = client.get("/v1/files").json()["data"]
    files = {"file": ("a.zip", b"hello", "application/zip")}
    assert_refused(client.post("/v1/files", data={"purpose": "fine_tuning"}, files=files), 400)
    assert client.get("/v1/files").json()["data"] == before


def test_every_route_but_probes_and_metrics_needs_a_key(server: Server) -> None:
    open_paths = {route.path for router in routes.OPEN for route in router.routes}  # type: ignore[attr-defined]
    assert open_paths == OPEN_ROUTES
    for prefix in routes.PREFIXES:
        for router in routes.API:
            for route in router.routes:
                for method in route.methods:  # type: ignore[attr-defined]
                    path = prefix + route.path.replace("{", "").replace("}", "")  # type: ignore[attr-defined]
                    response = httpx.request(method, server.url + path)
                    assert response.status_code == 401, (method, path)


def test_metrics_show_the_engines_and_the_service(server: Server, client: httpx.Client) -> None:
    assert_still_answers(client)
    text = httpx.get(f"{server.url}/metrics").text

    for needle in (
        f'vllm:generation_tokens_total{{engine="0",model_name="{SMOLLM2}"',
        f'lora_api_tokens_total{{kind="completion",model="{SMOLLM2}"}}',
        f'lora_api_time_to_first_token_seconds_count{{model="{SMOLLM2}"}}',
        'route="/v1/chat/completions",status="200"',
    ):
        assert needle in text, needle
    names = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(names) == len(set(names))
