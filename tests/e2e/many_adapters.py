"""Mixed traffic over more adapters than engine and disk hold, while versions come, go and move.

Requests go through the chat service, changes through the adapter service. A timeline for each model
id tells what it may have stood for while a request ran, so that every answer can be judged: its
text, the model and the digest told must be those of one of them, and a 404 is right only where
there may have been nothing.
"""

import asyncio
import os
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from adapters_registry.types import LoadedAdapter
from app.engine.base import Sampling
from app.errors import ApiError
from tests.e2e.replica import Replica, Told
from tests.fixtures.engines import MODEL_ID, TinyEngine

PROMPTS = ("Who are you?", "Tell me where this request was routed, in a few words.")
TOKENS = 16
SAMPLING = Sampling(temperature=0.0, max_tokens=TOKENS)
BASE_SHARE, ALIAS_SHARE, HOT_SHARE, ABSENT_SHARE = 0.15, 0.25, 0.25, 0.05
GIVE_UP_SHARE = 0.03
PIN_SECONDS = 600
VERSIONS = 4
CHANGERS = 3
BASE = -1
"""The base model, among contents counted from 0."""

State = int | None
References = Mapping[tuple[int, str], str]
"""(content, prompt) -> the answer that the content gives with nothing else running."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How much there is of everything. `present` contents are registered before the traffic."""

    contents: int
    present: int
    requests: int
    at_once: int


class Timeline:
    """What one model id stands for, over time; changes come one after the other."""

    def __init__(self, state: State) -> None:
        self._states = [state]
        self._settled = 0

    @contextmanager
    def changing(self, state: State) -> Iterator[None]:
        """The id may stand for the new state from here on, and surely does after the block."""
        self._states.append(state)
        yield
        self._settled = len(self._states) - 1

    @property
    def now(self) -> int:
        """A mark for `since`."""
        return self._settled

    def since(self, mark: int) -> frozenset[State]:
        """Return all that the id may have stood for since the mark was taken."""
        return frozenset(self._states[mark:])


@dataclass(slots=True)
class Name:
    """A name with several versions; those registered, the current one last."""

    text: str
    timeline: Timeline = field(default_factory=lambda: Timeline(None))
    versions: list[int] = field(default_factory=list)
    alias: str = ""


@dataclass(slots=True)
class Content:
    """One adapter's weights. Its ids are known once it has been registered."""

    number: int
    directory: Path
    name: Name
    timeline: Timeline = field(default_factory=lambda: Timeline(None))
    id: str = ""
    model: str = ""
    digest: str | None = None

    @property
    def is_present(self) -> bool:
        return self.number in self.name.versions


@dataclass(frozen=True, slots=True)
class Record:
    """One request: what could have answered it, and what it was told; None is a 404."""

    prompt: str
    possible: frozenset[State]
    told: Told | None


@dataclass(slots=True)
class Traffic:
    """The contents, what is known of them, and the record of all requests."""

    replica: Replica
    contents: Sequence[Content]
    scale: Scale
    random: random.Random
    records: list[Record] = field(default_factory=list)
    changes: Counter[str] = field(default_factory=Counter)
    is_over: bool = False

    async def prepare(self) -> None:
        """Register the contents that are there from the start."""
        for content in self.contents[: self.scale.present]:
            await self.register(content)

    async def run(self) -> None:
        """Send all requests, while contents and names change; in the end, one to each content."""
        left = iter(range(self.scale.requests))
        async with asyncio.TaskGroup() as background:
            for turn in range(CHANGERS):
                mine = [one for one in self.contents if one.number // VERSIONS % CHANGERS == turn]
                background.create_task(Changer(self, mine).run())
            background.create_task(self._keep_up_without_end())
            async with asyncio.TaskGroup() as askers:
                for _ in range(self.scale.at_once):
                    askers.create_task(self._ask_all(left))
            self.is_over = True
        for content in self.contents:
            if not content.is_present:
                await self.register(content)
            await self._ask(content.model, content.timeline)

    async def register(self, content: Content) -> None:
        """Upload the content and make it the current version of its name."""
        name = content.name
        file_id = await self.replica.upload(content.directory)
        with name.timeline.changing(content.number), content.timeline.changing(content.number):
            version = await self.replica.adapters.register(
                self.replica.org_id, name=name.text, base_model=MODEL_ID, input_file_id=file_id
            )
        assert content.digest in (None, version.row.digest), "the same content, another digest"
        content.id, content.digest = version.row.id, version.row.digest
        content.model = version.row.fine_tuned_model
        name.alias = content.model.rpartition("-")[0]
        name.versions.append(content.number)

    async def delete(self, content: Content) -> None:
        """Delete the content's version; its name falls back to the one active before."""
        name = content.name
        rest = [number for number in name.versions if number != content.number]
        left = rest[-1] if rest else None
        with name.timeline.changing(left), content.timeline.changing(None):
            await self.replica.adapters.delete(self.replica.org_id, content.id)
        name.versions = rest

    async def activate(self, content: Content) -> None:
        """Move the name to the content's version."""
        name = content.name
        with name.timeline.changing(content.number):
            await self.replica.adapters.activate(self.replica.org_id, content.id)
        name.versions.remove(content.number)
        name.versions.append(content.number)

    async def _ask_all(self, left: Iterator[int]) -> None:
        for _ in left:
            if self.random.random() < GIVE_UP_SHARE:
                await self._give_up()
            await self._ask(*self._pick())

    async def _ask(self, model: str, timeline: Timeline) -> None:
        prompt, mark = self.random.choice(PROMPTS), timeline.now
        try:
            told = await self.replica.ask(model, prompt, tokens=TOKENS)
        except ApiError as error:
            if error.status != 404:
                raise
            told = None
        self.records.append(Record(prompt, timeline.since(mark), told))

    async def _give_up(self) -> None:
        """Send a request whose client goes away, at any of its steps."""
        model, _ = self._pick()
        try:
            async with asyncio.timeout(self.random.uniform(0.0, 0.2)):
                await self.replica.ask(model, PROMPTS[0], tokens=4 * TOKENS)
        except TimeoutError:
            self.changes["given up"] += 1
        except ApiError as error:
            if error.status != 404:
                raise

    def _pick(self) -> tuple[str, Timeline]:
        kind = self.random.random()
        if kind < BASE_SHARE:
            return MODEL_ID, Timeline(BASE)
        known = [content for content in self.contents if content.model]
        absent = [content for content in known if not content.is_present]
        if kind > 1 - ABSENT_SHARE:
            known = absent or known
        elif kind > 1 - ABSENT_SHARE - HOT_SHARE:
            known = known[: max(1, len(known) // 8)]
        content = self.random.choice(known)
        if kind < BASE_SHARE + ALIAS_SHARE:
            return content.name.alias, content.name.timeline
        return content.model, content.timeline

    async def _keep_up_without_end(self) -> None:
        while not self.is_over:
            await self.keep_up()

    async def keep_up(self) -> None:
        """Sweep the replica as if nothing on its disk had been used for long."""
        self.replica.age_cache()
        await self.replica.sweeper.sweep()
        await self.replica.orphans.sweep()
        await asyncio.sleep(0.1)


@dataclass(slots=True)
class Changer:
    """Registers, deletes, activates, warms and pins contents of names that are its own."""

    traffic: Traffic
    contents: Sequence[Content]
    pinned: Content | None = None

    async def run(self) -> None:
        """Do one after the other, drawn by lot, while the traffic lasts."""
        actions = (self._register, self._delete, self._activate, self._warm, self._pin_or_unpin)
        while not self.traffic.is_over:
            action = self.traffic.random.choice(actions)
            if await action():
                self.traffic.changes[action.__name__] += 1
            await asyncio.sleep(0)
        if self.pinned is not None:
            await self._pin_or_unpin()

    async def _register(self) -> bool:
        absent = [one for one in self.contents if not one.is_present]
        unseen = [one for one in absent if not one.model]
        if chosen := self._one_of(unseen or absent):
            await self.traffic.register(chosen)
        return bool(absent)

    async def _delete(self) -> bool:
        present = self._present()
        if is_due := 4 * len(present) > 3 * len(self.contents):
            await self.traffic.delete(self.traffic.random.choice(present))
        return is_due

    async def _activate(self) -> bool:
        if chosen := self._one_of(self._present()):
            await self.traffic.activate(chosen)
        return chosen is not None

    async def _warm(self) -> bool:
        if chosen := self._one_of(self._present()):
            await self.traffic.replica.adapters.warm(self.traffic.replica.org_id, chosen.id)
        return chosen is not None

    async def _pin_or_unpin(self) -> bool:
        service, org_id = self.traffic.replica.adapters, self.traffic.replica.org_id
        if self.pinned is None:
            self.pinned = self._one_of(self._present())
            if self.pinned is not None:
                await service.pin(org_id, self.pinned.id, seconds=PIN_SECONDS)
            return self.pinned is not None
        if self.pinned.is_present:
            await service.unpin(org_id, self.pinned.id)
        self.pinned = None
        return True

    def _present(self) -> list[Content]:
        return [one for one in self.contents if one.is_present]

    def _one_of(self, contents: Sequence[Content]) -> Content | None:
        return self.traffic.random.choice(contents) if contents else None


def make_contents(tiny: TinyEngine, count: int) -> list[Content]:
    """Write adapters of two ranks, several versions to each name."""
    names = [Name(f"name-{number}") for number in range(-(-count // VERSIONS))]
    return [
        Content(number, tiny.adapter(number, _rank(number)).path, names[number // VERSIONS])
        for number in range(count)
    ]


async def ask_alone(tiny: TinyEngine, count: int) -> References:
    """Ask the base model and each content alone: nothing else is loaded, and nothing runs."""
    host = tiny.engine.adapters
    assert host is not None
    found = {(BASE, prompt): await _answer(tiny, prompt) for prompt in PROMPTS}
    for number in range(count):
        adapter = tiny.adapter(number, _rank(number))
        await host.load(adapter)
        for prompt in PROMPTS:
            found[number, prompt] = await _answer(tiny, prompt, adapter)
        await host.unload(adapter)
    return found


def wrong_answers(traffic: Traffic, references: References) -> list[Record]:
    """Return the requests whose answer is none of those that were possible."""
    expected: dict[State, tuple[str, str | None]] = {BASE: (MODEL_ID, None)}
    expected |= {one.number: (one.model, one.digest) for one in traffic.contents if one.model}

    def is_right(record: Record) -> bool:
        if record.told is None:
            return None in record.possible
        answers = [
            Told(references[state, record.prompt], *expected[state])
            for state in record.possible
            if state is not None
        ]
        return record.told in answers

    return [record for record in traffic.records if not is_right(record)]


def disk_bytes(directory: Path) -> int:
    """Return the bytes of all files below a directory that others write to."""
    total = 0
    for folder, _, files in os.walk(directory):
        for file in files:
            with suppress(FileNotFoundError):
                total += (Path(folder) / file).stat().st_size
    return total


def resident_bytes() -> int:
    """Return the memory of this process and its descendants, the engine's among them."""
    pages, processes = 0, [os.getpid()]
    for process in processes:
        with suppress(OSError):  # it has ended
            directory = Path(f"/proc/{process}")
            pages += int((directory / "statm").read_text().split()[1])
            for task in directory.glob("task/*/children"):
                processes += map(int, task.read_text().split())
    return pages * os.sysconf("SC_PAGE_SIZE")


async def _answer(tiny: TinyEngine, prompt: str, adapter: LoadedAdapter | None = None) -> str:
    return await tiny.text(tiny.job(prompt, sampling=SAMPLING), adapter)


def _rank(number: int) -> int:
    return 16 if number % 3 == 0 else 8
