"""What is wrong with a schema, where, and how a client is told; nothing of a library's own text."""

from app.errors import ApiError, shortened

Segments = tuple[str, ...]

MAX_ECHO_SEGMENTS = 64
MAX_ECHO_CHARACTERS = 1_024


class Violation(Exception):
    """One rule is broken at one place; `kind` is the keyword concerned, `code` names the rule."""

    def __init__(self, at: Segments, kind: str | None, code: str, message: str) -> None:
        super().__init__(message)
        self.at = at
        self.kind = kind
        self.code = code
        self.message = message

    def refusal(self, param: str, name: str | None) -> ApiError:
        """Return the 400 in Groq's shape; `name` is the schema's own."""
        path = shortened(pointer(self.at), MAX_ECHO_CHARACTERS)
        subject = param if name is None else f"{param}: '{shortened(name)}'"
        where = f"{path}: " if path else ""
        extra = {
            "schema_path": path,
            "schema_path_segments": [
                "$",
                *(shortened(segment) for segment in self.at[:MAX_ECHO_SEGMENTS]),
            ],
            "schema_kind": self.kind,
            "schema_code": self.code,
        }
        message = f"invalid JSON schema for {subject}: {where}{self.message}"
        return ApiError(400, message, param=param, extra=extra)


def pointer(segments: Segments) -> str:
    """Write a place as a JSON pointer; the root is the empty text."""
    return "".join(f"/{s.replace('~', '~0').replace('/', '~1')}" for s in segments)
