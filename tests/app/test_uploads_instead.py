"""Forms with a text in the file's place, with lists, and with a say about filenames."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from app.errors import ApiError
from app.uploads import MAX_LIST_ITEMS, UploadedFile, UploadForm, receive_upload
from tests.app.multipart import CONTENT_TYPE, FILE, body, field, files_in, part, streamed

MAX_BYTES = 4 << 20


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    assert files_in(tmp_path) == []


def wide_form(max_bytes: int = MAX_BYTES) -> UploadForm:
    """A form that may have a text in the file's place, and a field that comes often."""

    def no_exe(filename: str) -> None:
        if filename.endswith(".exe"):
            raise ApiError(400, "no programs")

    lists = frozenset({"many[]"})
    return UploadForm(max_bytes, frozenset({"one"}), lists, "url", no_exe)


@asynccontextmanager
async def wide(
    directory: Path, *chunks: bytes, form: UploadForm | None = None
) -> AsyncIterator[UploadedFile]:
    headers, form = {"content-type": CONTENT_TYPE}, form or wide_form()
    async with receive_upload(streamed(chunks), headers, form, directory) as upload:
        yield upload


async def wide_refusal(directory: Path, *parts: bytes, form: UploadForm | None = None) -> ApiError:
    with pytest.raises(ApiError) as caught:
        async with wide(directory, body(*parts), form=form):
            pass
    return caught.value


async def test_a_text_may_come_in_place_of_the_file_and_is_stored_like_it(directory: Path) -> None:
    text = b"data:," + b"x" * (2 << 20)
    sent = body(field("one", "1"), part('form-data; name="url"', text))
    async with wide(directory, sent) as upload:
        assert (upload.part, upload.filename, upload.size) == ("url", "", len(text))
        assert upload.path.read_bytes() == text
        assert upload.fields == {"one": "1"}


async def test_a_file_still_comes_as_one(directory: Path) -> None:
    async with wide(directory, body(part(FILE, b"PK"))) as upload:
        assert (upload.part, upload.filename, upload.lists) == ("file", "a.zip", {})


async def test_the_text_is_bounded_like_the_file(directory: Path) -> None:
    url = part('form-data; name="url"', b"x" * 1001)
    error = await wide_refusal(directory, url, form=wide_form(1000))
    assert (error.status, error.param) == (413, "url")


@pytest.mark.parametrize("swapped", [False, True])
async def test_only_one_of_file_and_text_may_come(directory: Path, swapped: bool) -> None:
    both = [part(FILE, b"x"), field("url", "x")]
    error = await wide_refusal(directory, *(both[::-1] if swapped else both))
    assert (error.status, "only one of" in error.message) == (400, True)


async def test_a_form_with_neither_says_what_it_needs(directory: Path) -> None:
    error = await wide_refusal(directory, field("one", "1"))
    assert error.message == "either `file` or `url` must be provided"


async def test_a_form_without_a_place_for_it_refuses_the_text(directory: Path) -> None:
    form = UploadForm(MAX_BYTES, frozenset())
    assert "unsupported" in (await wide_refusal(directory, field("url", "x"), form=form)).message


async def test_a_list_keeps_its_values_in_order_up_to_its_bound(directory: Path) -> None:
    values = [str(number) for number in range(MAX_LIST_ITEMS)]
    many = [field("many[]", value) for value in values]
    async with wide(directory, body(*many, part(FILE, b"x"))) as upload:
        assert upload.lists == {"many[]": values}
    error = await wide_refusal(directory, *many, field("many[]", "x"))
    assert (error.status, error.param) == (400, "many[]")


async def test_a_filename_can_be_refused_before_the_file_is_read(directory: Path) -> None:
    async def sent() -> AsyncIterator[bytes]:
        yield part('form-data; name="file"; filename="a.exe"', b"")[:-2]
        raise AssertionError("read on")

    headers = {"content-type": CONTENT_TYPE}
    with pytest.raises(ApiError, match="no programs"):
        async with receive_upload(sent(), headers, wide_form(), directory):
            pass
