"""What may be wrong with what is asked of files, as data; nothing here knows HTTP.

FilesError
├── QuotaExceeded   the organisation would keep more bytes than it may
└── FileInUse       a batch that has not ended reads the file
"""


class FilesError(Exception):
    """Base of the errors of files."""


class QuotaExceeded(FilesError):
    """`used` bytes are kept, and with the new file they would be more than `quota_bytes`."""

    def __init__(self, *, used: int, quota_bytes: int) -> None:
        super().__init__(f"{used} of {quota_bytes} bytes are used")
        self.used = used
        self.quota_bytes = quota_bytes


class FileInUse(FilesError):
    """The batch `batch_id` reads the file until it ends."""

    def __init__(self, batch_id: str) -> None:
        super().__init__(f"read by {batch_id}")
        self.batch_id = batch_id
