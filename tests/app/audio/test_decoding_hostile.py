"""Threat T5: files made to exhaust or to open something else."""

import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from app.audio.decoding import AudioDecoder, DecodeLimits
from app.audio.errors import AudioTooLong, AudioTooShort, AudioUnreadable
from app.audio.types import SAMPLE_RATE
from tests.app.audio.sounds import written
from tests.hostile.audio import BOUNDED, REFUSED, HostileAudio, edit_bomb, opus_bomb

GROWTH_BYTES = 200 << 20


@pytest.fixture
def decoder() -> AudioDecoder:
    return AudioDecoder(DecodeLimits(), concurrent=1)


@pytest.mark.parametrize("hostile", REFUSED, ids=lambda hostile: hostile.name)
async def test_what_is_no_audio_is_unreadable(
    decoder: AudioDecoder, tmp_path: Path, hostile: HostileAudio
) -> None:
    path = written(tmp_path, hostile.name, hostile.build())
    with pytest.raises(AudioUnreadable) as caught:
        await decoder.decode(path, org_id="org_a")
    assert str(caught.value) == AudioUnreadable.__doc__


@pytest.mark.parametrize("hostile", BOUNDED, ids=lambda hostile: hostile.name)
async def test_what_claims_too_much_gives_what_it_has(
    decoder: AudioDecoder, tmp_path: Path, hostile: HostileAudio
) -> None:
    path = written(tmp_path, hostile.name, hostile.build())
    before = resident_bytes()
    with suppress(AudioUnreadable, AudioTooShort):
        assert len(await decoder.decode(path, org_id="org_a")) <= 60 * SAMPLE_RATE
    assert peak_bytes() - before < GROWTH_BYTES


async def test_24_mb_of_opus_that_last_260_hours_are_too_long(
    decoder: AudioDecoder, tmp_path: Path
) -> None:
    path = written(tmp_path, "bomb.opus", opus_bomb(260))
    assert path.stat().st_size < 25_000_000
    before = resident_bytes()
    with pytest.raises(AudioTooLong):
        await decoder.decode(path, org_id="org_a")
    assert peak_bytes() - before < GROWTH_BYTES


async def test_a_second_that_is_to_be_played_half_a_million_times_is_too_long(
    decoder: AudioDecoder, tmp_path: Path
) -> None:
    path = written(tmp_path, "bomb.mp4", edit_bomb())
    before = resident_bytes()
    with pytest.raises(AudioTooLong):
        await decoder.decode(path, org_id="org_a")
    assert peak_bytes() - before < GROWTH_BYTES


@pytest.mark.parametrize(
    "attempt",
    [
        "open('/etc/hostname')",
        "socket.socket()",
        "os.pipe()",
        "subprocess.Popen(['true'])",
        "bytearray(600 << 20)",
        "os.truncate('written', 1)",
    ],
)
def test_the_program_can_open_start_and_hold_nothing_more(attempt: str, tmp_path: Path) -> None:
    (tmp_path / "written").touch()
    program = (
        "import os, socket, subprocess\n"
        "from app.audio.decoder import give_up_rights\n"
        f"give_up_rights({512 << 20}, 5)\n"
        f"try: {attempt}\n"
        "except (OSError, MemoryError): os._exit(42)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, timeout=60, stdin=subprocess.DEVNULL
    )
    assert ended.returncode == 42


def resident_bytes() -> int:
    """Return what this process holds, and let its peak begin there."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def peak_bytes() -> int:
    return _status("VmHWM")


def _status(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1]) << 10
