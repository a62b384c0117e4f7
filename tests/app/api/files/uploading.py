"""Uploads to the files service, as its router makes them."""

from app.api.files.schemas import FileObject
from app.api.files.service import FilesService
from tests.app.multipart import CONTENT_TYPE, body, field, part, streamed

HEADERS = {"content-type": CONTENT_TYPE}


async def keep(
    files: FilesService,
    org_id: str,
    content: bytes = b"{}",
    filename: str = "a.jsonl",
    *,
    purpose: str | None = "batch",
    key: str | None = None,
) -> FileObject:
    """Upload a file and keep it."""
    form = multipart(content, filename, purpose)
    async with files.receive(org_id, streamed([form]), HEADERS, key=key) as upload:
        return await files.create(org_id, upload, key=key)


def multipart(content: bytes, filename: str, purpose: str | None) -> bytes:
    named = filename.replace('"', '\\"')
    file = part(f'form-data; name="file"; filename="{named}"', content)
    return body(file) if purpose is None else body(field("purpose", purpose), file)
