"""The Files resource over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse

from app.api.files.disposition import content_disposition
from app.api.files.schemas import MAX_PAGE, FileDeleted, FileObject
from app.dependencies import CallerDep, FilesServiceDep
from app.pagination import Order, Page, PageRequest
from app.uploads import receive_upload

router = APIRouter()


@router.post("/files")
async def upload_file(request: Request, caller: CallerDep, files: FilesServiceDep) -> FileObject:
    async with receive_upload(request.stream(), request.headers, files.form) as upload:
        return await files.create(caller.org_id, upload)


@router.get("/files")
async def list_files(
    caller: CallerDep,
    files: FilesServiceDep,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = MAX_PAGE,
    order: Order = "desc",
    purpose: str | None = None,
) -> Page[FileObject]:
    return await files.list(caller.org_id, PageRequest(limit, after, order), purpose)


@router.get("/files/{file_id}")
async def get_file(file_id: str, caller: CallerDep, files: FilesServiceDep) -> FileObject:
    return await files.get(caller.org_id, file_id)


@router.delete("/files/{file_id}")
async def delete_file(file_id: str, caller: CallerDep, files: FilesServiceDep) -> FileDeleted:
    return await files.delete(caller.org_id, file_id)


@router.get("/files/{file_id}/content")
async def get_file_content(
    file_id: str, caller: CallerDep, files: FilesServiceDep
) -> StreamingResponse:
    content = await files.content(caller.org_id, file_id)
    headers = {
        "content-disposition": content_disposition(content.filename),
        "content-length": str(content.size),
        "x-content-type-options": "nosniff",
    }
    return StreamingResponse(content.chunks, media_type="application/octet-stream", headers=headers)
