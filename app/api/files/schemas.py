"""Files on the wire. **Source:** GroqCloud OpenAPI v2.1, `File`, `DeleteFileResponse`."""

from typing import Annotated, Literal, get_args

from pydantic import BaseModel, Field

from app.pagination import Listed

UploadPurpose = Literal["batch", "fine_tuning"]
UPLOAD_PURPOSES: tuple[str, ...] = get_args(UploadPurpose)
PURPOSES = (*UPLOAD_PURPOSES, "batch_output")
MAX_PAGE = 10_000


class CreateFileForm(BaseModel):
    """The parts of an upload's form."""

    file: Annotated[bytes, Field(json_schema_extra={"format": "binary"})]
    purpose: UploadPurpose


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
