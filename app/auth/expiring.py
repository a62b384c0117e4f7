"""A bounded cache whose entries are forgotten after a time, the oldest first when it is full."""

from collections import OrderedDict
from typing import Generic, TypeVar

Value = TypeVar("Value")


class ExpiringCache(Generic[Value]):
    """Entries live `seconds` from the time they are put with; at most `size` are held."""

    def __init__(self, size: int, seconds: float) -> None:
        self._size = size
        self._seconds = seconds
        self._entries: OrderedDict[str, tuple[Value, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def has(self, key: str, now: float) -> bool:
        """Tell whether a live entry has this key."""
        entry = self._entries.get(key)
        return entry is not None and now < entry[1]

    def get(self, key: str, now: float) -> Value | None:
        """Return the live value of this key."""
        return self._entries[key][0] if self.has(key, now) else None

    def put(self, key: str, value: Value, now: float) -> None:
        """Keep a value; the longest kept one makes room."""
        self._entries.pop(key, None)
        self._entries[key] = (value, now + self._seconds)
        if len(self._entries) > self._size:
            self._entries.popitem(last=False)
