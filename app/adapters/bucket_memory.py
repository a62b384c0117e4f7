"""What one process keeps of a base model's directories from one round of the sync to the next.

It decides what a round does: what is new, what failed and is due again, and a few of the refusals
that may no longer hold.
"""

from collections.abc import Mapping

from adapters_registry.sync import Action, Publish, Seen, look, plan
from app.adapters.backoff import Backoff
from app.adapters.bucket_actions import Outcome
from app.adapters.bucket_repository import Known

SECOND_OPINIONS = 20
"""Refusals tried again in one round: new adapters do not wait for all of them."""
RETRIED = frozenset({"load_failed"})
"""Verdicts that may be about the engine's state at the time rather than the adapter."""


class BucketMemory:
    """Knows what the rounds of this process saw, and what came of what they did."""

    def __init__(self) -> None:
        self._before: Mapping[str, Seen] | None = None
        self._unsure: set[str] | None = None
        self._backoff: Backoff[Action] = Backoff()

    def plan(
        self, marks: Mapping[str, str], known: Mapping[str, Known], *, at: float
    ) -> list[Action]:
        """Begin a round: return what it is to do, in this order.

        `marks` has every listed source, as `adapters_registry.sync.plan` wants it.
        """
        before, self._before = self._before, look(self._before, marks, at=at)
        applied = {source: k.applied for source, k in known.items()}
        new = plan(before, self._before, applied, at=at)
        again = self._doubtful(marks, known)
        due = set(self._backoff.due([*new, *again]))
        return [
            *(action for action in new if action in due),
            *[action for action in again if action in due][:SECOND_OPINIONS],
        ]

    def note(self, outcomes: Mapping[Action, Outcome]) -> None:
        """End a round with what came of its actions."""
        for action, outcome in outcomes.items():
            if outcome in (Outcome.FAILED, Outcome.REFUSED):
                self._backoff.failed(action)
            if outcome in (Outcome.PUBLISHED, Outcome.REFUSED) and self._unsure:
                self._unsure.discard(action.source)

    def _doubtful(self, marks: Mapping[str, str], known: Mapping[str, Known]) -> list[Publish]:
        """Return refused contents that are still there and may pass if they are tried once more."""
        refused = {source: k for source, k in known.items() if k.code is not None}
        if self._unsure is None:
            # The settings or the rules of an earlier process may be the reason.
            self._unsure = {*refused}
        return [
            Publish(source, refused[source].applied)
            for source in sorted(refused)
            if marks.get(source) == refused[source].applied
            and (refused[source].code in RETRIED or source in self._unsure)
        ]
