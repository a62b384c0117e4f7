"""The program that speaks with Piper, in a process of its own; `piper_process` starts it.

Piper is GPL-3.0, so this program alone imports it, when it runs. Frames go in by its standard input
and out by its standard output: the lengths of head and body, a JSON head, a body of float32
samples. It takes each text apart into sentences, and long ones into parts, so that the first sound
comes early, no run needs much memory, and a request that nobody wants any more soon ends. Nothing
that a text makes Piper do can end it on purpose; it ends with its input.
"""

import importlib
import json
import os
import struct
import sys
import threading
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from queue import SimpleQueue
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

HEAD = struct.Struct(">II")
"""Bytes of the JSON head, bytes of the body."""

FIRST_PHONEMES = 120
MOST_PHONEMES = 300
"""Of what is spoken in one run; about nine and twenty-two seconds of speech."""

CLAUSE_ENDS = frozenset(",;:—")
QUIETEST = 1e-8


class Job:
    """A text to be spoken, until it is done or stopped."""

    def __init__(self, id: int, voice: str, text: str, options: Any) -> None:
        self.id = id
        self.voice = voice
        self.text = text
        self.options = options
        self.stopped: str | None = None

    def stop(self, why: str) -> None:
        """End it, in the middle of a run too."""
        self.stopped = self.stopped or why
        self.options.terminate = True


class Session:
    """An ONNX session that takes a thread's run options from where Piper cannot give any."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.local = threading.local()

    def run(self, outputs: Sequence[str] | None, inputs: Mapping[str, Any]) -> Any:
        return self._session.run(outputs, inputs, self.local.options)


class Output:
    """Writes frames for several threads."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def send(self, head: Mapping[str, Any], body: bytes = b"") -> None:
        """Write a frame; the program ends where nobody reads it."""
        try:
            with self._lock:
                self._stream.write(frame(head, body))
                self._stream.flush()
        except OSError:
            os._exit(1)


class Speaker:
    """All voices, and the threads that speak with them."""

    def __init__(self, settings: Mapping[str, Any], output: Output) -> None:
        self._ort = importlib.import_module("onnxruntime")
        self._seconds = settings["run_seconds"]
        self._output = output
        self._jobs: SimpleQueue[Job] = SimpleQueue()
        self._known: dict[int, Job] = {}
        self._voices = {
            name: self._load(path, settings["threads"]) for name, path in settings["voices"].items()
        }
        for _ in range(settings["running"]):
            threading.Thread(target=self._work, daemon=True).start()

    def take(self, head: Mapping[str, Any]) -> None:
        """Do what a frame asks for."""
        if head["kind"] == "speak":
            job = Job(head["id"], head["voice"], head["text"], self._ort.RunOptions())
            self._known[job.id] = job
            self._jobs.put(job)
        elif (known := self._known.get(head["id"])) is not None:
            known.stop("cancelled")

    def _load(self, path: str, threads: int) -> Any:
        piper = importlib.import_module("piper")
        options = self._ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Their threads would wait for the next run with a whole core each.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session = self._ort.InferenceSession(
            path, sess_options=options, providers=["CPUExecutionProvider"]
        )
        with open(f"{path}.json", encoding="utf-8") as file:
            config = importlib.import_module("piper.config").PiperConfig.from_dict(json.load(file))
        return piper.PiperVoice(session=Session(session), config=config)

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            made, outcome = self._spoken(job)
            del self._known[job.id]
            self._output.send({"kind": "end", "id": job.id, "outcome": outcome, "made": made})

    def _spoken(self, job: Job) -> tuple[int, str]:
        """Speak a text; return how many of its parts were made, and how it ended."""
        made = 0
        try:
            voice = self._voices[job.voice]
            voice.session.local.options = job.options
            planned = list(parts(voice.phonemize(job.text)))
            for number, part in enumerate(planned, start=1):
                if job.stopped:
                    break
                body = self._run(job, voice, part).tobytes()
                made = number
                head = {"kind": "sound", "id": job.id, "number": number, "of": len(planned)}
                self._output.send(head, body)
        except Exception:
            # Phonemizers and models of any language: whatever they raise ends this text only.
            return made, job.stopped or "failed"
        return made, job.stopped or "done"

    def _run(self, job: Job, voice: Any, part: Sequence[str]) -> NDArray[np.float32]:
        timer = threading.Timer(self._seconds, job.stop, ["late"])
        timer.daemon = True
        timer.start()
        try:
            return levelled(voice.phoneme_ids_to_audio(voice.phonemes_to_ids(part)))
        finally:
            timer.cancel()


def parts(sentences: Sequence[Sequence[str]]) -> Iterator[Sequence[str]]:
    """Yield the phonemes of one run each; the first is short. What has no sound is left out."""
    is_first = True
    for sentence in sentences:
        rest = sentence
        while rest:
            end = _end(rest, FIRST_PHONEMES if is_first else MOST_PHONEMES)
            part, rest = rest[:end], rest[end:]
            if any(unicodedata.category(phoneme[0])[0] == "L" for phoneme in part if phoneme):
                is_first = False
                yield part


def _end(phonemes: Sequence[str], most: int) -> int:
    """Return where the first part ends: behind a clause, else a word, else in the middle."""
    if len(phonemes) <= most:
        return len(phonemes)
    spaces = [at for at in range(1, most) if phonemes[at] == " "]
    clauses = [at for at in spaces if phonemes[at - 1] in CLAUSE_ENDS]
    if clauses and clauses[-1] > most // 4:
        return clauses[-1] + 1
    return spaces[-1] + 1 if spaces else most


def levelled(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Bring a part to full level, as Piper does with sentences."""
    samples = np.asarray(samples, dtype=np.float32).reshape(-1)
    peak = float(np.abs(samples).max(initial=0.0))
    if not peak > QUIETEST:
        return np.zeros_like(samples)
    return np.asarray(np.clip(samples / np.float32(peak), -1.0, 1.0), dtype=np.float32)


def frame(head: Mapping[str, Any], body: bytes = b"") -> bytes:
    """Return a frame as bytes."""
    written = json.dumps(head).encode()
    return HEAD.pack(len(written), len(body)) + written + body


def frames(stream: BinaryIO) -> Iterator[Any]:
    """Yield the heads of frames until the stream ends; their bodies are passed over."""
    while len(lengths := stream.read(HEAD.size)) == HEAD.size:
        head_length, body_length = HEAD.unpack(lengths)
        head = stream.read(head_length)
        stream.read(body_length)
        yield json.loads(head)


def main() -> None:
    """Speak until the input ends."""
    # What a library prints must not get among the frames.
    output = Output(os.fdopen(os.dup(sys.stdout.fileno()), "wb"))
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    requests = frames(sys.stdin.buffer)
    try:
        speaker = Speaker(next(requests), output)
    except ImportError as error:
        output.send({"kind": "missing", "reason": str(error)})
        return
    except Exception as error:
        # Voices are anybody's files: any error may come out of loading one.
        output.send({"kind": "unusable", "reason": str(error)})
        return
    output.send({"kind": "ready"})
    for head in requests:
        speaker.take(head)
    os._exit(0)


if __name__ == "__main__":
    main()
