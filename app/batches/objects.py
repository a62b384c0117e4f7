"""Where the object store keeps what belongs to a batch while it is worked on."""

BATCHES = "batches/"


def input_key(batch_id: str) -> str:
    """Return the key of the validated input, whose lines are ordered by chunk."""
    return f"{BATCHES}{batch_id}/input"


def part_key(batch_id: str, part: str) -> str:
    """Return the key of some results; `part` is a name that nobody gives twice."""
    return f"{BATCHES}{batch_id}/parts/{part}"
