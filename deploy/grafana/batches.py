"""The dashboard of batches: how much there is to do, how fast it goes, and what goes wrong.

Gauges of the queue come from the database and are the same on every replica, so they are read with
`max`; counters are each replica's own and added up.
"""

from deploy.grafana.panels import Panel, Row, stat
from deploy.grafana.queries import or_zero, quantiles, rate

TITLE = "LoRA API / Batches"
DESCRIPTION = "How much batch work there is, how fast it goes, and what goes wrong."


LINES = 'sum(max by (model) (lora_api_batch_lines{{$R,state="{}"}}))'

NOW: Row = (
    "Now",
    [
        stat(
            "Unfinished batches",
            "In any status but a final one.",
            "sum(max by (status) (lora_api_batches{$R}))",
        ),
        stat("Lines queued", "Lines that nobody works on.", or_zero(LINES.format("queued"))),
        stat("Lines running", "Lines that a replica works on.", or_zero(LINES.format("running"))),
        stat(
            "Lines per second",
            "Lines with a final result.",
            rate("lora_api_batch_lines_ended_total"),
            decimals=1,
        ),
        stat(
            "Oldest batch",
            "Age of the oldest unfinished batch; batches expire after 24 hours.",
            "max(lora_api_batch_oldest_seconds{$R})",
            unit="dtdurations",
            bad=("above", 72_000),
        ),
        stat(
            "Chunks overdue",
            "Held by processes that were not heard of in time.",
            "max(lora_api_batch_chunks_overdue{$R})",
            bad=("above", 1),
        ),
    ],
)

QUEUE: Row = (
    "Queue",
    [
        Panel(
            "Batches by status",
            "Unfinished ones.",
            [("max by (status) (lora_api_batches{$R})", "{{status}}")],
            stacked=True,
        ),
        Panel(
            "Lines by model",
            "Without a stored result, `none` are lines of models that are not served.",
            [
                (
                    or_zero("max by (model, state) (lora_api_batch_lines{$R})"),
                    "{{model}} {{state}}",
                )
            ],
            stacked=True,
        ),
        Panel(
            "Age of the oldest",
            "Of all unfinished batches, and of those that nobody has begun with.",
            [
                ("max(lora_api_batch_oldest_seconds{$R})", "unfinished"),
                ("max(lora_api_batch_oldest_waiting_seconds{$R})", "not begun"),
            ],
            unit="s",
        ),
    ],
)

PACE: Row = (
    "Pace",
    [
        Panel(
            "Lines ended by outcome",
            "Per second.",
            [(rate("lora_api_batch_lines_ended_total", by="outcome"), "{{outcome}}")],
        ),
        Panel(
            "Lines ended by endpoint",
            "Per second.",
            [(rate("lora_api_batch_lines_ended_total", by="url"), "{{url}}")],
            stacked=True,
        ),
        Panel(
            "Lines in engines",
            "Lines that have a place in an engine, and that wait for one.",
            [
                (
                    'sum by (model) (lora_api_admitted_requests{$R,model=~"$model",tier="batch"})',
                    "{{model}} run",
                ),
                (
                    'sum by (model) (lora_api_batch_lines_waiting{$R,model=~"$model"})',
                    "{{model}} wait",
                ),
            ],
        ),
        Panel(
            "Seconds of a chunk",
            "For which a replica held some lines.",
            quantiles("lora_api_batch_chunk_seconds", "", by="model", legend="{{model}}"),
            unit="s",
        ),
        Panel(
            "Lines that gave way",
            "Per second; other requests came, and they are run again later.",
            [
                (
                    rate("lora_api_batch_lines_displaced_total", 'model=~"$model"', by="model"),
                    "{{model}}",
                )
            ],
        ),
        Panel(
            "Lines asked again",
            "Per second; there was no room, or a part was down.",
            [(rate("lora_api_batch_lines_retried_total", by="url"), "{{url}}")],
        ),
    ],
)

WRONG: Row = (
    "What goes wrong",
    [
        Panel(
            "Leases lost",
            "Chunks and steps per second that another process took over.",
            [(rate("lora_api_batch_leases_lost_total", by="instance"), "{{instance}}")],
        ),
        Panel(
            "Work on batches that failed",
            "Per second: the store, the database or a local disk was not to be had.",
            [
                (
                    or_zero(
                        rate("lora_api_background_failures_total", 'task=~"batch.*"', by="task")
                    ),
                    "{{task}}",
                )
            ],
        ),
        Panel(
            "Age of these numbers",
            "Since a replica last read the queue.",
            [
                (
                    "time() - max by (instance) (lora_api_batch_queue_seen_timestamp_seconds{$R})",
                    "{{instance}}",
                )
            ],
            unit="s",
        ),
    ],
)

ROWS = (NOW, QUEUE, PACE, WRONG)
