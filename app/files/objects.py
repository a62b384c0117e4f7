"""Where the object store keeps a file's bytes."""

FILES = "files/"


def object_key(file_id: str) -> str:
    """Return the object's key; it names no owner, so it is for those who have seen the row."""
    return f"{FILES}{file_id}"
