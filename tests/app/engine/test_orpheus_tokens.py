"""Arithmetic of audio tokens: any sequence gives frames or nothing, and no frame is lost."""

from hypothesis import given
from hypothesis import strategies as st

from app.engine.orpheus_tokens import (
    AFTER,
    BEFORE,
    MOST_KEPT,
    PLACES,
    AudioTokens,
    Frame,
    FrameReader,
    SlidingWindow,
)

REAL = AudioTokens(first=128_266, codebook_size=4096)
CODES = st.tuples(*[st.integers(0, 4095)] * PLACES)
ANY_TOKEN = st.integers(-10, 160_000)


def _read(tokens: list[int]) -> list[Frame]:
    return list(FrameReader(REAL).read(tokens))


@given(st.lists(CODES, max_size=20))
def test_frames_survive_the_way_to_tokens_and_back(frames: list[Frame]):
    assert _read([token for frame in frames for token in REAL.tokens(frame)]) == frames


@given(st.lists(ANY_TOKEN, max_size=300))
def test_any_tokens_give_whole_frames_of_valid_codes(tokens: list[int]):
    for frame in _read(tokens):
        assert len(frame) == PLACES
        assert all(0 <= code < 4096 for code in frame)


@given(st.lists(CODES, min_size=3, max_size=6), st.lists(ANY_TOKEN, max_size=10))
def test_noise_costs_no_frame_that_is_whole(frames: list[Frame], noise: list[int]):
    first, *others = frames
    spoilt = [*REAL.tokens(first)[:3], *noise]
    read = _read([*spoilt, *(token for frame in others for token in REAL.tokens(frame))])
    # What the noise may hold is a beginning, which the first whole frame cannot go on from.
    assert read[-len(others) :] == others


@given(st.lists(ANY_TOKEN, max_size=100), st.integers(1, 9))
def test_it_does_not_matter_in_what_portions_tokens_come(tokens: list[int], size: int):
    reader = FrameReader(REAL)
    portions = [tokens[at : at + size] for at in range(0, len(tokens), size)]
    assert [frame for portion in portions for frame in reader.read(portion)] == _read(tokens)


def test_the_published_ids_mean_what_they_should():
    """The first token of place 3 is <custom_token_12298>."""
    assert REAL.code(128_256 + 10) == (0, 0)
    assert REAL.code(128_256 + 12_298) == (3, 0)
    assert REAL.code(128_256 + 10 + 7 * 4096 - 1) == (6, 4095)
    assert REAL.code(128_258) is None
    assert REAL.code(128_256 + 10 + 7 * 4096) is None


def _fed(count: int, portions: list[int]) -> list[tuple[int, int, int]]:
    """Feed numbered frames; return the first number, and the first and last kept, of each piece."""
    window = SlidingWindow()
    pieces = []
    fed = 0
    for portion in [*portions, count]:
        portion = min(portion, count - fed)
        window.push([(number,) * PLACES for number in range(fed, fed + portion)])
        fed += portion
        pieces += list(window.pieces())
    pieces += list(window.pieces(is_end=True))
    numbers = [[frame[0] for frame in piece.frames] for piece in pieces]
    assert all(len(each) <= BEFORE + MOST_KEPT + AFTER for each in numbers)
    return [
        (each[0], each[piece.start], each[piece.stop - 1])
        for each, piece in zip(numbers, pieces, strict=True)
    ]


@given(st.integers(0, 120), st.lists(st.integers(0, 50), max_size=40))
def test_each_frame_is_kept_once_and_in_order(count: int, portions: list[int]):
    kept = [number for _, first, last in _fed(count, portions) for number in range(first, last + 1)]
    assert kept == list(range(count))


@given(st.integers(0, 120), st.lists(st.integers(0, 50), max_size=40))
def test_what_is_kept_has_a_frame_before_it(count: int, portions: list[int]):
    assert all(begin == max(0, first - BEFORE) for begin, first, _ in _fed(count, portions))


def test_audio_begins_with_the_third_frame_and_goes_on_with_every_one():
    window = SlidingWindow()
    counts = []
    for number in range(5):
        window.push([(number,) * PLACES])
        counts.append(len(list(window.pieces())))
    assert counts == [0, 0, 1, 1, 1]


def test_codes_go_to_their_codebooks_in_the_order_of_time():
    window = SlidingWindow()
    window.push([tuple(range(7)), tuple(range(10, 17))])
    (piece,) = window.pieces(is_end=True)
    assert piece.codes() == [[0, 10], [1, 4, 11, 14], [2, 3, 5, 6, 12, 13, 15, 16]]
