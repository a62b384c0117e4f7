"""Files on the wire. **Source:** GroqCloud OpenAPI v2.1, `File`, `DeleteFileResponse`."""

from typing import Literal

from pydantic import BaseModel

from app.pagination import Listed

UPLOAD_PURPOSES = ("batch", "fine_tuning")
PURPOSES = (*UPLOAD_PURPOSES, "batch_output")
MAX_PAGE = 10_000


class FileObject(Listed):
    """One file. `bytes` is its size, `created_at` Unix seconds."""

    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    filename: str
    purpose: str


class FileDeleted(BaseModel):
    """The answer to a deletion."""

    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True
