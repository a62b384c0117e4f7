"""What more a process may take on: enough that no place is idle, and no more than it gets done."""

from collections.abc import Collection
from math import ceil

from app.batches.chunk_run import ChunkRun
from app.batches.chunks import Opening
from app.batches.types import Capacity

AHEAD = 1.25
"""Lines that are held, as a multiple of those on their way: the next are there when these end."""
LINES_WITHOUT_MODEL = 64
"""Lines on their way that ask no model of the deployment; each is but a 404."""
MOST_NEWCOMERS = 32
"""Chunks of a model that are held for the sake of organisations that have none here."""
MOST_BYTES = 64 << 20
"""Bytes of input that are held."""


def most_lines(model: str, capacity: Capacity) -> int:
    """Return how many lines of a model may be on their way at once."""
    return max(1, capacity.lines(model)) if model else LINES_WITHOUT_MODEL


def opening(model: str, runs: Collection[ChunkRun], capacity: Capacity) -> Opening | None:
    """Return what there is room for beside these runs. Beside one that is to be alone, nothing."""
    if any(run.held.is_careful for run in runs):
        return None
    if sum(run.held.length for run in runs) >= MOST_BYTES:
        return None
    here = [run for run in runs if run.held.model == model]
    not_of = set[str]()
    if sum(run.unfinished for run in here) >= ceil(AHEAD * most_lines(model, capacity)):
        # No more of those that are here; one that is new need not wait until these are done.
        not_of = {run.held.org_id for run in here}
        if len(here) >= MOST_NEWCOMERS:
            return None
    adapters = {run.held.adapter for run in here} - {""}
    is_full = model != "" and len(adapters) >= max(1, capacity.adapters(model))
    held = {run.held.token for run in here}
    return Opening(model, adapters if is_full else None, not_of, held)
