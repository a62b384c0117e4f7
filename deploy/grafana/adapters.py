"""The dashboard of adapters: where they are, what their first requests wait for, who uses them."""

from deploy.grafana.panels import Panel, Row
from deploy.grafana.queries import or_zero, quantile, quantiles, rate

TITLE = "LoRA API / Adapters"
DESCRIPTION = "Where adapters are, what cold ones cost, and which are used how much."
MODEL = 'base_model=~"$model"'
TOP = 15

PLACES: Row = (
    "Where they are",
    [
        Panel(
            "In engines",
            "Adapters that engines hold and can hold, over all replicas.",
            [
                (
                    f"sum by (base_model) (lora_api_adapters_resident{{$R,{MODEL}}})",
                    "{{base_model}}",
                ),
                (
                    f"sum by (base_model) (lora_api_adapters_capacity{{$R,{MODEL}}})",
                    "{{base_model}} can hold",
                ),
            ],
        ),
        Panel(
            "Leased and pinned",
            "Held by running requests or pins.",
            [
                (
                    f"sum by (base_model) (lora_api_adapters_leased{{$R,{MODEL}}})",
                    "{{base_model}} leased",
                ),
                (
                    f"sum by (base_model) (lora_api_adapters_pinned{{$R,{MODEL}}})",
                    "{{base_model}} pinned",
                ),
            ],
        ),
        Panel(
            "On local disk",
            "Share of the byte budget in use. Full is usual: the least recently used give way.",
            [
                (
                    "lora_api_adapter_cache_bytes{$R} / lora_api_adapter_cache_limit_bytes{$R}",
                    "{{instance}}",
                )
            ],
            unit="percentunit",
        ),
        Panel(
            "Requests by where the adapter was",
            "Per second: in the engine, on local disk, or in the store.",
            [(rate("lora_api_adapter_lease_seconds_count", MODEL, by="tier"), "{{tier}}")],
            stacked=True,
        ),
        Panel(
            "Leaving",
            "Adapters per second that leave engines and local disks.",
            [
                (rate("lora_api_adapter_unloads_total", MODEL), "engine"),
                (rate("lora_api_adapter_cache_evictions_total"), "disk"),
            ],
        ),
        Panel(
            "Turns",
            "Requests of adapters that run, and that wait for their turn in the engine.",
            [
                (
                    f"sum by (base_model) (lora_api_adapter_requests_running{{$R,{MODEL}}})",
                    "{{base_model}} run",
                ),
                (
                    f"sum by (base_model) (lora_api_adapter_requests_waiting{{$R,{MODEL}}})",
                    "{{base_model}} wait",
                ),
            ],
        ),
    ],
)

COLD: Row = (
    "Cold starts",
    [
        Panel(
            "Loads by tier",
            "Loads into engines per second, by where the weights came from.",
            [(rate("lora_api_adapter_loads_total", MODEL, by="tier"), "{{tier}}")],
            stacked=True,
        ),
        Panel(
            "Seconds of a load",
            "Fetch and load, by where the weights came from.",
            quantiles("lora_api_adapter_load_seconds", MODEL, by="tier", legend="{{tier}}"),
            unit="s",
        ),
        Panel(
            "What requests wait for their adapter",
            "Turn, fetch and load together, by where the weights were.",
            quantiles("lora_api_adapter_lease_seconds", MODEL, by="tier", legend="{{tier}}"),
            unit="s",
        ),
        Panel(
            "Loads that failed",
            "Per second: in the engine, and downloads given up by reason.",
            [
                (rate("lora_api_adapter_load_failures_total", MODEL), "engine"),
                (rate("lora_api_adapter_fetches_refused_total", by="reason"), "{{reason}}"),
            ],
        ),
        Panel(
            "Adapters in the synced bucket",
            "As the replicas last saw them; nothing without a sync.",
            [
                (
                    or_zero(
                        f"max by (base_model, status) (lora_api_bucket_adapters{{$R,{MODEL}}})"
                    ),
                    "{{base_model}} {{status}}",
                )
            ],
        ),
        Panel(
            "Age of the last look at the bucket",
            "Since a replica last finished a round; nothing without a sync.",
            [
                (
                    or_zero("time() - (lora_api_bucket_sync_finished_timestamp_seconds{$R} > 0)"),
                    "{{instance}}",
                )
            ],
            unit="s",
        ),
    ],
)

USE: Row = (
    "Who is used",
    [
        Panel(
            "Tokens by adapter",
            f"Tokens per second of the {TOP} most used. `other` are those without a series.",
            [
                (
                    f"topk({TOP}, "
                    + rate(
                        "lora_api_adapter_tokens_total",
                        f'{MODEL},kind=~"prompt|completion"',
                        by="adapter",
                    )
                    + ")",
                    "{{adapter}}",
                )
            ],
            width=12,
        ),
        Panel(
            "Requests by adapter",
            f"Requests and batch lines per second of the {TOP} most used.",
            [
                (
                    f"topk({TOP}, {rate('lora_api_adapter_requests_total', MODEL, by='adapter')})",
                    "{{adapter}}",
                )
            ],
            width=12,
        ),
        Panel(
            "Time to first token by adapter",
            f"p99 of the {TOP} slowest; a cold start is a part of it.",
            [
                (
                    f"topk({TOP}, "
                    + quantile(
                        0.99, "lora_api_adapter_time_to_first_token_seconds", MODEL, by="adapter"
                    )
                    + ")",
                    "{{adapter}}",
                )
            ],
            unit="s",
            width=12,
        ),
        Panel(
            "Most used in the chosen time",
            "Tokens by adapter version.",
            [
                (
                    "topk(50, sum by (base_model, adapter) (increase(lora_api_adapter_tokens_total"
                    f'{{$R,{MODEL},kind=~"prompt|completion"}}[$__range])))',
                    "",
                )
            ],
            kind="table",
            width=12,
            decimals=0,
        ),
    ],
)

ROWS = (PLACES, COLD, USE)
