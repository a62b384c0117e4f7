"""Events are split where one ends."""

from hypothesis import given
from hypothesis import strategies as st

from app.pools.relay import FRAME_END, whole_frames

PIECES = st.lists(st.sampled_from([b"\n", b"data: x", b"\n\n", b""]), max_size=12)


@given(PIECES)
def test_only_whole_events_go_on_and_nothing_is_lost(pieces: list[bytes]) -> None:
    sent, held = b"", b""
    for piece in pieces:
        whole, held = whole_frames(held + piece)
        sent += whole
        assert whole == b"" or whole.endswith(FRAME_END)
        assert FRAME_END not in held
    assert sent + held == b"".join(pieces)
