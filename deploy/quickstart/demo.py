"""`make demo`: train two adapters, upload them, and hear one base model speak in three ways.

Then, in a line each, what the same server does besides chat.
"""

import signal
import subprocess
import sys
from pathlib import Path

from groq import Groq, GroqError

from deploy.quickstart import other_tasks
from deploy.quickstart.adapters import trained, zipped
from deploy.quickstart.conversation import Answer, NoAnswer, ask
from deploy.quickstart.models import prepare_all
from deploy.quickstart.other_tasks import OtherTasks
from deploy.quickstart.packaged import ModelMissing
from deploy.quickstart.paths import ADAPTERS, MODELS, SPEECH
from deploy.quickstart.ports import free_port
from deploy.quickstart.progress import task
from deploy.quickstart.registration import Registration, register
from deploy.quickstart.report import answers_table, output, timing_table
from deploy.quickstart.server import ServerFailed, create_key, running
from deploy.quickstart.smollm2 import NAME as BASE
from deploy.quickstart.styles import QUESTIONS, STYLES
from deploy.quickstart.verdict import failures

ORGANISATION = "demo"
TERMINATED = 128 + signal.SIGTERM


def main() -> int:
    """Run the whole demo and return the exit status: 0 only when every answer is as trained."""
    # Turned into an exception, so that the server ends with its parent.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    try:
        prepare_all(MODELS)
        archives = {
            style.name: zipped(trained(style, MODELS / BASE, ADAPTERS)) for style in STYLES.values()
        }
        problems = _serve_and_ask(archives)
    except (
        ModelMissing,
        ServerFailed,
        GroqError,
        NoAnswer,
        subprocess.CalledProcessError,
    ) as error:
        problems = [str(error)]
    for problem in problems:
        print(f"demo: {problem}", file=sys.stderr)
    return 1 if problems else 0


def _serve_and_ask(archives: dict[str, Path]) -> list[str]:
    key = create_key(ORGANISATION)
    with (
        running(free_port()) as server,
        Groq(base_url=server.url, api_key=key, max_retries=0) as client,
    ):
        registrations = {name: _register(client, name, zip) for name, zip in archives.items()}
        models = {BASE: BASE, **{name: each.model for name, each in registrations.items()}}
        answers = {name: _ask_all(client, name, model) for name, model in models.items()}
        with task("Comparing texts, speaking and listening"):
            others = other_tasks.run(client, SPEECH)
    _report(registrations, answers, others)
    base = answers.pop(BASE)
    return failures(tuple(STYLES.values()), base, answers) + other_tasks.problems(others)


def _register(client: Groq, name: str, archive: Path) -> Registration:
    with task(f"Uploading and registering the {name} adapter"):
        return register(client, archive, name=name, base_model=BASE)


def _ask_all(client: Groq, name: str, model: str) -> list[Answer]:
    with task(f"Asking {name}", steps=len(QUESTIONS)) as advance:
        answers = []
        for question in QUESTIONS:
            answers.append(ask(client, model, question))
            advance()
        return answers


def _report(
    registrations: dict[str, Registration],
    answers: dict[str, list[Answer]],
    others: OtherTasks,
) -> None:
    console = output()
    console.print(answers_table(QUESTIONS, answers))
    console.print(timing_table(registrations, answers))
    for registration in registrations.values():
        console.print(f"Model id: {registration.model}", soft_wrap=True, highlight=False)
    for line in other_tasks.lines(others):
        console.print(line, soft_wrap=True, highlight=False)
    console.print("Keep a server with these models running: make serve")


if __name__ == "__main__":
    sys.exit(main())
