"""Expressions that several panels share the shape of; `$R` selects the chosen replicas."""

INTERVAL = "$__rate_interval"


def rate(metric: str, labels: str = "", *, by: str = "") -> str:
    """Write the rate per second of a counter, added up over replicas."""
    chosen = f"$R,{labels}" if labels else "$R"
    return f"sum{_by(by)} (rate({metric}{{{chosen}}}[{INTERVAL}]))"


def quantile(share: float, metric: str, labels: str = "", *, by: str = "") -> str:
    """Write a quantile of a histogram over all replicas."""
    grouped = f"le, {by}" if by else "le"
    buckets = rate(f"{metric}_bucket", labels, by=grouped)
    return f"histogram_quantile({share}, {buckets})"


def quantiles(metric: str, labels: str, *, by: str, legend: str) -> list[tuple[str, str]]:
    """Write the median and the 99th percentile, with their legends."""
    return [
        (quantile(0.5, metric, labels, by=by), f"p50 {legend}"),
        (quantile(0.99, metric, labels, by=by), f"p99 {legend}"),
    ]


def or_zero(expression: str) -> str:
    """Write 0 where there is nothing: series that come with the first error."""
    return f"{expression} or vector(0)"


def _by(labels: str) -> str:
    return f" by ({labels})" if labels else ""
