"""Sums of usage in memory, by account and day."""

import time
from collections.abc import Callable
from datetime import UTC, date, datetime

from app.usage.types import Account, Amounts, Entry, Sums

DAY_SECONDS = 86_400


class Tally:
    """Adds up; usage is of the day on which its request ended. `clock` counts Unix seconds."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._sums: dict[Entry, Amounts] = {}
        self._day = date.min
        self._day_number = -1

    def __len__(self) -> int:
        return len(self._sums)

    def record(self, account: Account, amounts: Amounts) -> None:
        """Add what one request has used."""
        self.add(self.entry(account), amounts)

    def entry(self, account: Account) -> Entry:
        """Return the entry of an account today."""
        number = int(self._clock() // DAY_SECONDS)
        if number != self._day_number:
            self._day_number = number
            self._day = datetime.fromtimestamp(number * DAY_SECONDS, UTC).date()
        return Entry(self._day, account)

    def has(self, entry: Entry) -> bool:
        """Tell whether anything was added to it."""
        return entry in self._sums

    def add(self, entry: Entry, amounts: Amounts) -> None:
        """Add to an entry."""
        known = self._sums.get(entry)
        self._sums[entry] = amounts if known is None else known.plus(amounts)

    def add_all(self, sums: Sums) -> None:
        """Add to many entries."""
        for entry, amounts in sums.items():
            self.add(entry, amounts)

    @property
    def sums(self) -> Sums:
        """What there is so far."""
        return self._sums

    def taken(self) -> Sums:
        """Return all sums, and start with none again."""
        sums, self._sums = self._sums, {}
        return sums
