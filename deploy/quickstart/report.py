"""Prints what the demo saw: the answers side by side, and what a cold start costs."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from deploy.quickstart.conversation import Answer
from deploy.quickstart.progress import PLAIN_WIDTH
from deploy.quickstart.registration import Registration

NEW = "upload, checks, storing, loading, test answer, then the first token of the first call"
KNOWN = "first call since the server started: the adapter is on disk, not yet in the engine"

Answers = Sequence[Answer]


def output() -> Console:
    """Return standard output as a console that stays readable in a pipe."""
    console = Console()
    return console if console.is_terminal else Console(width=PLAIN_WIDTH)


def answers_table(questions: Sequence[str], answers: Mapping[str, Answers]) -> Table:
    """Lay out one row a question and one column a model."""
    table = Table(title="Temperature 0, no system prompt", show_lines=True)
    table.add_column("question", ratio=2)
    for model in answers:
        table.add_column(model, ratio=3)
    for row, question in enumerate(questions):
        # Text, because answers may hold square brackets that rich would take for markup.
        cells = [Text(given[row].text) for given in answers.values()]
        table.add_row(Text(question), *cells)
    return table


def timing_table(
    registrations: Mapping[str, Registration], answers: Mapping[str, Answers]
) -> Table:
    """Lay out one row an adapter: the cold call, what it includes, and the next call."""
    table = Table(title="Time to first token, milliseconds")
    for column in ("adapter", "cold", "cold means", "warm (the next call)"):
        table.add_column(column, justify="left" if column == "cold means" else "right")
    for name, registration in registrations.items():
        first, second = answers[name][:2]
        before = registration.seconds if registration.is_new else 0.0
        table.add_row(
            name,
            f"{1000 * (before + first.first_token_seconds):.0f}",
            NEW if registration.is_new else KNOWN,
            f"{1000 * second.first_token_seconds:.0f}",
        )
    return table
