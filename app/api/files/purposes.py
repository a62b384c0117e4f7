"""What a file must be for its purpose, told as soon as enough of it has come."""

from app.api.files.schemas import UPLOAD_PURPOSES
from app.errors import NO_RETRY, ApiError, invalid_request
from app.uploads import ReceivedForm

ZIP_MAGIC = b"PK"


def check_so_far(form: ReceivedForm, *, batch_bytes: int) -> None:
    """Refuse what can be no file of its purpose any more, if that is known yet.

    A batch file has at most `batch_bytes`. **Raises:** ApiError 400 or 413.
    """
    purpose = form.fields.get("purpose")
    if purpose is None:
        return
    if purpose not in UPLOAD_PURPOSES:
        raise wrong_purpose(UPLOAD_PURPOSES)
    if purpose == "batch":
        _check_batch(form, batch_bytes)
    elif not form.head.startswith(ZIP_MAGIC[: len(form.head)]):
        raise _no_zip()


def checked_purpose(form: ReceivedForm, *, batch_bytes: int) -> str:
    """Return the purpose that a whole file was found fit for. **Raises:** as `check_so_far`."""
    purpose = form.fields.get("purpose")
    if purpose is None:
        raise invalid_request("property 'purpose' is missing", param="purpose")
    check_so_far(form, batch_bytes=batch_bytes)
    if form.size == 0:
        raise invalid_request("file is empty", param="file")
    if purpose == "fine_tuning" and not form.head.startswith(ZIP_MAGIC):
        raise _no_zip()
    return purpose


def wrong_purpose(accepted: tuple[str, ...]) -> ApiError:
    """400: not one of the purposes that are `accepted` here."""
    names = ", ".join(f"`{purpose}`" for purpose in accepted)
    return invalid_request(f"`purpose` must be one of: {names}", param="purpose")


def _check_batch(form: ReceivedForm, batch_bytes: int) -> None:
    if not form.filename.lower().endswith(".jsonl"):
        raise invalid_request("a batch file's name must end in .jsonl", param="file")
    if form.size > batch_bytes:
        message = f"the file is too large: a batch file has at most {batch_bytes} bytes"
        raise ApiError(413, message, param="file", code="request_too_large", headers=NO_RETRY)


def _no_zip() -> ApiError:
    message = "a fine_tuning file must be a ZIP archive"
    return invalid_request(message, param="file", code="zip_invalid")
