"""Settings of the work on batches."""

from pydantic import Field

from app.settings.group import Group


class BatchSettings(Group):
    enabled: bool = Field(
        True,
        description="Whether this process works on batches. It takes them in for others anyway.",
    )
    max_lines: int = Field(50_000, ge=1, description="Most lines of one batch.")
    line_bytes: int = Field(4 << 20, ge=1024, description="Longest line of a batch, in bytes.")
    active_per_organization: int = Field(
        64, ge=1, description="Batches of one organisation that may be unfinished at a time."
    )
    chunk_lines: int = Field(256, ge=1, description="Most lines that a process takes on at once.")
    lease_seconds: int = Field(
        60,
        ge=3,
        description="How long after a process was last heard of its lines are given to others.",
    )
    checkpoint_seconds: float = Field(
        10.0, gt=0, description="How often the results of unfinished chunks are stored."
    )
    poll_seconds: float = Field(
        1.0, gt=0, description="How often a process without work looks for some."
    )
