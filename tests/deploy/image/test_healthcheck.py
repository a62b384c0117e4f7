"""The container's health check, against a real HTTP server."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

from deploy.image.healthcheck import is_alive
from deploy.quickstart.ports import free_port


@contextmanager
def answering(status: int) -> Iterator[int]:
    """Serve `status` on /health/live, and 404 elsewhere, on the port that is yielded."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/health/live" else 404)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def test_a_server_that_answers_is_alive() -> None:
    with answering(200) as port:
        assert is_alive(port)


def test_a_server_that_answers_with_an_error_is_not() -> None:
    with answering(503) as port:
        assert not is_alive(port)


def test_where_nobody_listens_nobody_is_alive() -> None:
    assert not is_alive(free_port())
