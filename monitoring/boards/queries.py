"""The shapes of queries that boards share."""

RATE = "$__rate_interval"


def per_second(metric: str, by: str = "", matching: str = "") -> str:
    """How often a counter counts."""
    grouped = f"sum by ({by}) " if by else "sum"
    return f"{grouped}(rate({metric}{{{matching}}}[{RATE}]))" if matching else f"{grouped}(rate({metric}[{RATE}]))"


def quantile(share: float, metric: str, by: str = "", matching: str = "") -> str:
    """A quantile of a histogram, `metric` without its suffix."""
    buckets = f"{metric}_bucket{{{matching}}}" if matching else f"{metric}_bucket"
    return f"histogram_quantile({share}, sum by (le{', ' + by if by else ''}) (rate({buckets}[{RATE}])))"
