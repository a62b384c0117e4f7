"""The Files resource over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import StreamingResponse

from app.api.files.disposition import content_disposition
from app.api.files.schemas import MAX_PAGE, PURPOSES, CreateFileForm, FileDeleted, FileObject
from app.api.files.service import FileContent
from app.dependencies import CallerDep, FilesServiceDep
from app.idempotency_header import IdempotencyKeyDep
from app.openapi import binary, multipart
from app.pagination import ID, Order, Page, PageRequest
from app.transport import unless_disconnected

router = APIRouter()

After = Annotated[str | None, Query(json_schema_extra={"pattern": f"^{ID.pattern}$"})]
Purpose = Annotated[str | None, Query(json_schema_extra={"enum": [*PURPOSES, None]})]


@router.post("/files", operation_id="uploadFile", openapi_extra=multipart(CreateFileForm))
async def upload_file(
    request: Request, caller: CallerDep, files: FilesServiceDep, key: IdempotencyKeyDep
) -> FileObject:
    """Store a file of this organisation."""
    org_id = caller.org_id
    async with files.receive(org_id, request.stream(), request.headers, key=key) as upload:
        creation = files.create(org_id, upload, key=key)
        return await unless_disconnected(request.receive, creation)


@router.get("/files", operation_id="listFiles")
async def list_files(
    caller: CallerDep,
    files: FilesServiceDep,
    after: After = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = MAX_PAGE,
    order: Order = "desc",
    purpose: Purpose = None,
) -> Page[FileObject]:
    """List the organisation's files, a page at a time."""
    return await files.list(caller.org_id, PageRequest(limit, after, order), purpose)


@router.get("/files/{file_id}", operation_id="retrieveFile")
async def get_file(file_id: str, caller: CallerDep, files: FilesServiceDep) -> FileObject:
    """Show one file."""
    return await files.get(caller.org_id, file_id)


@router.delete("/files/{file_id}", operation_id="deleteFile")
async def delete_file(file_id: str, caller: CallerDep, files: FilesServiceDep) -> FileDeleted:
    """Delete one file."""
    return await files.delete(caller.org_id, file_id)


@router.get(
    "/files/{file_id}/content",
    operation_id="downloadFile",
    response_class=StreamingResponse,
    responses={**binary(), 206: binary()[200]},
)
async def get_file_content(
    file_id: str,
    caller: CallerDep,
    files: FilesServiceDep,
    range: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> StreamingResponse:
    """Download the bytes of one file, or those that a `Range: bytes=0-99` header asks for."""
    content = await files.content(caller.org_id, file_id, range)
    return StreamingResponse(
        content.chunks,
        status_code=200 if content.part is None else 206,
        media_type="application/octet-stream",
        headers=_headers(content),
    )


def _headers(content: FileContent) -> dict[str, str]:
    headers = {
        "accept-ranges": "bytes",
        "content-disposition": content_disposition(content.filename),
        "content-length": str(content.size),
        "x-content-type-options": "nosniff",
    }
    if content.part is not None:
        headers["content-length"] = str(content.part.length)
        headers["content-range"] = content.part.content_range(content.size)
    return headers
