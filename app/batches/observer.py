"""What is told of the work on batches, for metrics. No call names an organisation or a batch."""

from typing import Protocol


class BatchObserver(Protocol):
    """Is told as it happens. `url` is one of the endpoints' own, `model` a base model or empty."""

    def batch_line_ended(self, url: str, *, is_ok: bool) -> None:
        """Count a line's final result, whether or not it will be saved."""
        ...

    def batch_line_retried(self, url: str) -> None:
        """Count an answer that was not final."""
        ...

    def batch_chunk_ended(self, model: str, seconds: float) -> None:
        """Record how long a process held a chunk, whatever came of it."""
        ...

    def batch_lease_lost(self) -> None:
        """Count a chunk or step that another process has taken over."""
        ...

    def background_begun(self, task: str) -> None:
        """Note, before it can fail, work whose failures will be counted."""
        ...

    def background_failed(self, task: str) -> None:
        """Count a failure that will be tried again; `task` is of a fixed few."""
        ...
