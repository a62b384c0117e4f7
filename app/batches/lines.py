"""The form of one line, as a client writes it and as the ordered input holds it.

A client's line is a JSON object of exactly `custom_id`, `method`, `url` and `body`. In the ordered
input the same bytes stand behind their line number and their endpoint, `<number> <url> <line>\\n`,
so that each line can be read by itself. What a body must be is not known here.
"""

from typing import Any

from app.batches.types import BatchError, Line
from app.errors import ApiError, shortened
from app.json_document import decode

CHAT = "/v1/chat/completions"
URLS = (
    CHAT,
    "/v1/completions",
    "/v1/embeddings",
    "/v1/responses",
    "/v1/reranking",
    "/v1/audio/transcriptions",
    "/v1/audio/translations",
)
"""The endpoints that a batch may ask."""
MIXED = frozenset({CHAT, "/v1/audio/transcriptions", "/v1/audio/translations"})
"""Those that one file may ask together. **Source:** GroqDocs, batch."""

FIELDS = ("custom_id", "method", "url", "body")
MAX_CUSTOM_ID_CHARACTERS = 512
ALIAS = "/openai"


class LineRefused(Exception):
    """A line that cannot be a request; `param` names the part at fault."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param

    def at(self, line: int) -> BatchError:
        """Return the error as the batch tells it."""
        return BatchError(self.code, self.message, self.param, line)


def own_url(url: str) -> str | None:
    """Return the endpoint that a url means, with or without `/openai`; None if there is none."""
    own = url.removeprefix(ALIAS)
    return own if own in URLS else None


def parse_line(number: int, written: bytes, endpoint: str) -> Line:
    """Read a client's line of a batch for `endpoint`. **Raises:** LineRefused."""
    document = _document(written)
    for name in FIELDS:
        if name not in document:
            raise _missing(name)
    for name in document:
        if name not in FIELDS:
            text = f"property '{shortened(name)}' is unsupported"
            raise LineRefused("invalid_request", text, shortened(name))
    return Line(
        number,
        _custom_id(document["custom_id"]),
        _url(document["method"], document["url"], endpoint),
        _body(document["body"]),
        len(written),
    )


def stored_line(number: int, url: str, written: bytes) -> bytes:
    """Return a line of the ordered input; `written` is the client's, without its line ending."""
    return b"%d %s %s\n" % (number, url.encode(), written)


def read_line(stored: bytes) -> Line:
    """Read a line of the ordered input, which was found good before it was written there.

    Costs as much as reading its JSON. **Raises:** ValueError where it is no such line.
    """
    try:
        number, url, written = stored.removesuffix(b"\n").split(b" ", 2)
        return parse_line(int(number), written, url.decode())
    except LineRefused as refused:
        raise ValueError("the ordered input holds a line that is none") from refused


def _document(written: bytes) -> dict[str, Any]:
    if not written.strip():
        raise LineRefused("invalid_json_line", "The line is empty.")
    try:
        return decode(written)
    except ApiError as error:
        # Its words are about a document that is a whole request body.
        said = error.message.replace("The request body", "The line", 1)
        said = said.replace("(line 1, column ", "(column ", 1)
        raise LineRefused("invalid_json_line", said) from None


def _missing(name: str) -> LineRefused:
    return LineRefused("missing_required_parameter", f"property '{name}' is missing", name)


def _custom_id(value: Any) -> str:
    if not isinstance(value, str):
        raise _wrong("custom_id", "value must be a string")
    if not 1 <= len(value) <= MAX_CUSTOM_ID_CHARACTERS:
        raise _wrong("custom_id", f"value must have 1 to {MAX_CUSTOM_ID_CHARACTERS} characters")
    return value


def _url(method: Any, url: Any, endpoint: str) -> str:
    if method != "POST":
        raise LineRefused("invalid_method", "'method' : value must be `POST`", "method")
    own = own_url(url) if isinstance(url, str) else None
    if own is None:
        known = ", ".join(f"`{known}`" for known in URLS)
        raise LineRefused("invalid_url", f"'url' : value must be one of {known}", "url")
    if own != endpoint and not {own, endpoint} <= MIXED:
        said = f"'url' : value must be `{endpoint}`, the batch's endpoint"
        raise LineRefused("url_mismatch", said, "url")
    return own


def _body(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong("body", "value must be an object")
    if "model" not in value:
        raise _missing("body.model")
    if not isinstance(value["model"], str):
        raise _wrong("body.model", "value must be a string")
    return value


def _wrong(param: str, words: str) -> LineRefused:
    return LineRefused("invalid_request", f"'{param}' : {words}", param)
