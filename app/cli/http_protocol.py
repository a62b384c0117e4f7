"""uvicorn's fast HTTP parser with what it lacks: a bound on the bytes before a request's body."""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 64 << 10
REFUSAL = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"connection: close\r\ncontent-length: 0\r\n\r\n"
)


class BoundedHttpProtocol(HttpToolsProtocol):
    """Refuses a request whose line and headers are longer than MAX_HEAD_BYTES.

    **Source:** uvicorn.protocols.http.httptools_impl (0.54); httptools itself counts nothing.
    """

    _head_bytes = 0
    _is_past_a_head = False

    def data_received(self, data: bytes) -> None:
        self._is_past_a_head = False
        super().data_received(data)
        self._head_bytes = 0 if self._is_past_a_head else self._head_bytes + len(data)
        if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.transport.write(REFUSAL)
            self.transport.close()

    def on_headers_complete(self) -> None:
        self._is_past_a_head = True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._is_past_a_head = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._is_past_a_head = True
        super().on_message_complete()
