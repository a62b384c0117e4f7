"""The dashboard of tenants and limits: who uses how much, and who is refused and why."""

from deploy.grafana.panels import Panel, Row
from deploy.grafana.queries import or_zero, rate

TITLE = "LoRA API / Tenants and limits"
DESCRIPTION = (
    "Which organisation uses how much, and who is refused and why. Exact numbers for bills are in "
    "the usage API; these are for looking at what goes on."
)
MODEL = 'model=~"$model"'
TOP = 15
PAID = 'kind=~"prompt|completion"'

USE: Row = (
    "Use",
    [
        Panel(
            "Tokens by organisation",
            f"Tokens per second of the {TOP} that use most. `other` are those without a series.",
            [
                (
                    f"topk({TOP}, "
                    + rate(
                        "lora_api_organization_tokens_total", f"{MODEL},{PAID}", by="organization"
                    )
                    + ")",
                    "{{organization}}",
                )
            ],
            stacked=True,
            width=12,
        ),
        Panel(
            "Requests by organisation",
            f"Requests and batch lines that were served, per second, of the {TOP} that ask most.",
            [
                (
                    f"topk({TOP}, "
                    + rate("lora_api_organization_requests_total", MODEL, by="organization")
                    + ")",
                    "{{organization}}",
                )
            ],
            stacked=True,
            width=12,
        ),
        Panel(
            "Tokens in the chosen time",
            "By organisation, model and kind; cached ones are a part of prompt.",
            [
                (
                    "topk(100, sum by (organization, model, kind) (increase("
                    f"lora_api_organization_tokens_total{{$R,{MODEL}}}[$__range])))",
                    "",
                )
            ],
            kind="table",
            width=12,
            decimals=0,
        ),
        Panel(
            "Adapters in the chosen time",
            "Tokens by adapter version, whose id names its organisation.",
            [
                (
                    "topk(100, sum by (base_model, adapter) (increase(lora_api_adapter_tokens_total"
                    f'{{$R,base_model=~"$model",{PAID}}}[$__range])))',
                    "",
                )
            ],
            kind="table",
            width=12,
            decimals=0,
        ),
    ],
)

LIMITS: Row = (
    "Rate limits",
    [
        Panel(
            "Refused by a rate limit",
            "Requests per second by organisation and what was used up.",
            [
                (
                    or_zero(
                        f"topk({TOP}, "
                        + rate("lora_api_rate_limit_refusals_total", MODEL, by="organization, unit")
                        + ")"
                    ),
                    "{{organization}} {{unit}}",
                )
            ],
        ),
        Panel(
            "Refused by model and tier",
            "Requests per second.",
            [
                (
                    or_zero(rate("lora_api_rate_limit_refusals_total", MODEL, by="model, tier")),
                    "{{model}} {{tier}}",
                )
            ],
        ),
        Panel(
            "The server of limits failed",
            "Calls per second; each process then counts by itself, so limits are looser.",
            [(rate("lora_api_limit_storage_failures_total", by="instance"), "{{instance}}")],
        ),
    ],
)

ROOM: Row = (
    "Want of room",
    [
        Panel(
            "Refused by tier",
            "Requests per second for which there was no room.",
            [
                (
                    rate("lora_api_admission_refusals_total", MODEL, by="model, tier"),
                    "{{model}} {{tier}}",
                )
            ],
        ),
        Panel(
            "Refused by reason",
            "Too many requests or prompt tokens, no turn for the adapter, or vLLM's own queue.",
            [(rate("lora_api_admission_refusals_total", MODEL, by="reason"), "{{reason}}")],
        ),
        Panel(
            "Inside by tier",
            "Requests that engines run or that wait for them.",
            [(f"sum by (tier) (lora_api_admitted_requests{{$R,{MODEL}}})", "{{tier}}")],
            stacked=True,
        ),
    ],
)

ROWS = (USE, LIMITS, ROOM)
