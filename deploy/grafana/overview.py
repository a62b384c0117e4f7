"""The dashboard to begin with: does it answer, how fast, how much, and what limits it."""

from deploy.grafana.panels import Panel, Row, stat
from deploy.grafana.queries import or_zero, quantile, quantiles, rate

TITLE = "LoRA API / Overview"
DESCRIPTION = "Whether the service answers, how fast, how much, and what limits it."
FAST = "lora_api_time_to_first_token_seconds"
MODEL = 'model=~"$model"'
ENGINE = 'model_name=~"$model"'
ERRORS = or_zero(rate("lora_api_requests_total", 'status=~"5.."'))


NOW: Row = (
    "Now",
    [
        stat(
            "Replicas ready",
            "Replicas that can take requests.",
            "sum(lora_api_ready{$R})",
            bad=("below", 1),
        ),
        stat(
            "Parts down",
            "Engines, databases and stores that do not answer, over all replicas.",
            "sum(1 - lora_api_engine_up{$R}) + sum(1 - lora_api_part_up{$R})",
            bad=("above", 1),
        ),
        stat(
            "Requests", "HTTP requests per second.", rate("lora_api_requests_total"), unit="reqps"
        ),
        stat(
            "Server errors",
            "Share of requests that were answered with 5xx.",
            f"({ERRORS}) / {rate('lora_api_requests_total')}",
            unit="percentunit",
            bad=("above", 0.05),
        ),
        stat(
            "First token, p50",
            "Half of the requests to chat models wait no longer for their first token.",
            quantile(0.5, FAST, MODEL),
            unit="s",
        ),
        stat(
            "First token, p99",
            "One request in a hundred waits longer for its first token.",
            quantile(0.99, FAST, MODEL),
            unit="s",
            bad=("above", 5),
        ),
        stat(
            "Tokens per second",
            "Tokens that models have written.",
            rate("lora_api_tokens_total", f'{MODEL},kind="completion"'),
        ),
        stat(
            "KV cache",
            "How full the fullest engine's KV cache is.",
            f"max(vllm:kv_cache_usage_perc{{$R,{ENGINE}}})",
            unit="percentunit",
            bad=("above", 0.95),
        ),
    ],
)

TRAFFIC: Row = (
    "Traffic",
    [
        Panel(
            "Requests by route",
            "HTTP requests per second.",
            [(rate("lora_api_requests_total", by="route"), "{{route}}")],
            unit="reqps",
        ),
        Panel(
            "Answers that are not 2xx",
            "HTTP answers per second by status: 429 is a rate limit, 503 and 498 want of room.",
            [
                (
                    or_zero(rate("lora_api_requests_total", 'status!~"2.."', by="status")),
                    "{{status}}",
                )
            ],
            unit="reqps",
        ),
        Panel(
            "Tokens",
            "Tokens per second; cached ones are a part of prompt.",
            [(rate("lora_api_tokens_total", MODEL, by="model, kind"), "{{model}} {{kind}}")],
        ),
    ],
)

SPEED: Row = (
    "Speed",
    [
        Panel(
            "Time to first token",
            "From a request's arrival to its first token; lines of batches are not among them.",
            quantiles(FAST, MODEL, by="model", legend="{{model}}"),
            unit="s",
        ),
        Panel(
            "Time between tokens",
            "As vLLM measures it.",
            quantiles(
                "vllm:inter_token_latency_seconds", ENGINE, by="model_name", legend="{{model_name}}"
            ),
            unit="s",
        ),
        Panel(
            "Whole answers",
            "Until the last byte is sent, by route.",
            [(quantile(0.99, "lora_api_request_seconds", by="route"), "p99 {{route}}")],
            unit="s",
        ),
    ],
)

ROOM: Row = (
    "Room",
    [
        Panel(
            "Queue",
            "Requests that the engines run, and admitted ones that wait.",
            [
                (
                    f"sum by (model_name) (vllm:num_requests_running{{$R,{ENGINE}}})",
                    "{{model_name}} runs",
                ),
                (
                    f"sum by (model) (lora_api_admitted_requests_waiting{{$R,{MODEL}}})",
                    "{{model}} waits",
                ),
            ],
        ),
        Panel(
            "KV cache by model",
            "How full it is; at 1, running requests are interrupted.",
            [
                (
                    f"max by (model_name, instance) (vllm:kv_cache_usage_perc{{$R,{ENGINE}}})",
                    "{{model_name}} {{instance}}",
                )
            ],
            unit="percentunit",
        ),
        Panel(
            "Prefix cache hits",
            "Share of prompt tokens that were in the cache.",
            [
                (
                    f"{rate('vllm:prefix_cache_hits_total', ENGINE, by='model_name')} / "
                    f"{rate('vllm:prefix_cache_queries_total', ENGINE, by='model_name')}",
                    "{{model_name}}",
                )
            ],
            unit="percentunit",
        ),
        Panel(
            "Interrupted by the engine",
            "Requests per second that vLLM put back because the KV cache was full.",
            [(rate("vllm:num_preemptions_total", ENGINE, by="model_name"), "{{model_name}}")],
        ),
        Panel(
            "Time in the engine's queue",
            "One request in a hundred waits longer inside of vLLM.",
            [
                (
                    quantile(0.99, "vllm:request_queue_time_seconds", ENGINE, by="model_name"),
                    "p99 {{model_name}}",
                )
            ],
            unit="s",
        ),
        Panel(
            "HTTP requests in flight",
            "By replica; streams count until their end.",
            [("sum by (instance) (lora_api_requests_in_flight{$R})", "{{instance}}")],
        ),
    ],
)

PARTS: Row = (
    "Replicas and parts",
    [
        Panel(
            "Ready",
            "1 where a replica can take requests.",
            [("max by (instance) (lora_api_ready{$R})", "{{instance}}")],
            unit="none",
        ),
        Panel(
            "Models up",
            "Replicas on which the model's engine runs.",
            [(f"sum by (model) (lora_api_engine_up{{$R,{MODEL}}})", "{{model}}")],
            unit="none",
        ),
        Panel(
            "Database and store",
            "Replicas that reach them.",
            [("sum by (part) (lora_api_part_up{$R})", "{{part}}")],
            unit="none",
        ),
        Panel(
            "Starts of processes and engines",
            "Starts anew in the last hour.",
            [
                (
                    "changes(process_start_time_seconds{$R}[1h]) and on (job, instance) "
                    "lora_api_ready{$R}",
                    "{{instance}}",
                ),
                (
                    f"sum by (model) (increase(lora_api_engine_restarts_total{{$R,{MODEL}}}[1h]))",
                    "{{model}}",
                ),
            ],
            unit="none",
        ),
        Panel(
            "Memory of the API process",
            "Without that of its engines, which are processes of their own.",
            [
                (
                    "process_resident_memory_bytes{$R} and on (job, instance) lora_api_ready{$R}",
                    "{{instance}}",
                )
            ],
            unit="bytes",
        ),
        Panel(
            "Background work that failed",
            "Rounds in the last quarter of an hour, by task.",
            [
                (
                    or_zero(
                        "sum by (task) (increase(lora_api_background_failures_total{$R}[15m]))"
                    ),
                    "{{task}}",
                )
            ],
        ),
    ],
)

ROWS = (NOW, TRAFFIC, SPEED, ROOM, PARTS)
