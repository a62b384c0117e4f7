"""Hostile audio on the real server: bombs, lies and bodies without end cost it next to nothing."""

import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from app.unread_bodies import LINGER_BYTES
from tests.e2e.all_tasks.catalog import TRANSCRIPTION, wav
from tests.fixtures.server import Server
from tests.fixtures.spoken import speak
from tests.hostile import audio as hostile

GROWTH_BYTES = 200 << 20
LIMIT_BYTES = 25 << 20
BUFFERED_BYTES = 32 << 20
"""On both sides of a connection."""

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def http(all_tasks: Server) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {all_tasks.key('attacker')}"}
    with httpx.Client(base_url=f"{all_tasks.url}/openai/v1", headers=headers, timeout=120) as http:
        yield http


@pytest.fixture(autouse=True)
def server_is_unharmed(all_tasks: Server, http: httpx.Client) -> Iterator[None]:
    before = memory(all_tasks)
    yield
    growth = memory(all_tasks) - before
    heard = transcribe(http, "speech.wav", wav(speak("Everything still works.")))
    assert heard.json()["text"].strip() == "Everything still works."
    assert growth < GROWTH_BYTES, f"memory grew by {growth >> 20} MiB"


def memory(server: Server) -> int:
    """Resident bytes of the server's own process."""
    resident: int = psutil.Process(server.pid).memory_info().rss
    return resident


def transcribe(http: httpx.Client, name: str, content: bytes) -> httpx.Response:
    return http.post(
        "/audio/transcriptions", data={"model": TRANSCRIPTION}, files={"file": (name, content)}
    )


def test_an_opus_bomb_is_refused(http: httpx.Client) -> None:
    bomb = hostile.opus_bomb(hours=100)
    assert len(bomb) < LIMIT_BYTES

    answer = transcribe(http, "bomb.opus", bomb)

    assert answer.status_code == 400


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("zeros.mp3", hostile.zip_of_zeros()),
        ("chained.ogg", hostile.chained_ogg(500, "mono")),
        ("claims.flac", hostile.flac_of_many_claimed_samples()),
        ("edits.m4a", hostile.edit_bomb()),
        ("noise.wav", bytes(range(256)) * 4000),
        ("empty.mp3", b""),
        ("playlist.mp3", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_audio_is_a_400_or_heard_in_bounds(
    http: httpx.Client, name: str, content: bytes
) -> None:
    started = time.perf_counter()
    answer = transcribe(http, name, content)

    assert answer.status_code in (200, 400)
    assert time.perf_counter() - started < 60
    assert "Traceback" not in answer.text
    assert "/tmp" not in answer.text


def test_a_lying_content_length_is_a_413_before_the_body(
    all_tasks: Server, http: httpx.Client
) -> None:
    head = request_head(http, f"content-length: {10 << 30}")
    with connected(all_tasks) as connection:
        connection.sendall(head)
        assert status_of(connection) == 413


def test_a_body_without_end_is_cut_off_at_the_limit(all_tasks: Server, http: httpx.Client) -> None:
    head = request_head(http, "transfer-encoding: chunked")
    part = b'--x\r\ncontent-disposition: form-data; name="file"; filename="a.mp3"\r\n\r\n'
    megabyte = b"%x\r\n%s\r\n" % (1 << 20, b"\0" * (1 << 20))
    sent = 0
    with connected(all_tasks) as connection:
        connection.sendall(head + b"%x\r\n%s\r\n" % (len(part), part))
        try:
            while sent < 400 << 20:
                connection.sendall(megabyte)
                sent += 1 << 20
        except OSError:
            pass  # closed by the server, as it should be
        assert sent < LIMIT_BYTES + LINGER_BYTES + BUFFERED_BYTES


def test_a_file_over_the_limit_is_a_413_that_says_what_to_do(http: httpx.Client) -> None:
    answer = transcribe(http, "long.wav", b"\0" * (LIMIT_BYTES + 1))

    assert answer.status_code == 413
    assert str(LIMIT_BYTES) in answer.json()["error"]["message"]


def request_head(http: httpx.Client, length: str) -> bytes:
    lines = [
        "POST /openai/v1/audio/transcriptions HTTP/1.1",
        "host: 127.0.0.1",
        f"authorization: {http.headers['authorization']}",
        "content-type: multipart/form-data; boundary=x",
        length,
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def connected(server: Server) -> socket.socket:
    address = urlsplit(server.url)
    assert address.hostname is not None
    return socket.create_connection((address.hostname, address.port or 80), timeout=60)


def status_of(connection: socket.socket) -> int:
    return int(connection.recv(4096).split()[1])
