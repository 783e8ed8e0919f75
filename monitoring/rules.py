"""The rules in other forms: as the Prometheus operator's resource, and with a faster clock for a test."""

import re

_HEAD = """\
# Made of headgate.rules.yaml by `make monitoring`; do not edit.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: headgate
spec:
"""
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(
    r"(?<=\[)(\d+)([smhd])(?=\])|(?<=for: )(\d+)([smhd])$|(?<=interval: )(\d+)([smhd])$", re.MULTILINE
)


def as_operator_resource(text: str) -> str:
    """The rules of a file as a `PrometheusRule`: the same text, a step further in."""
    lines = (line for line in text.splitlines() if not line.startswith("#"))
    return _HEAD + "".join(f"  {line}\n" if line else "\n" for line in lines)


def faster(text: str, times: int, least_seconds: int) -> str:
    """The rules with every window, `for` and interval `times` shorter, none below `least_seconds`.

    Thresholds stay: a rate is per second whatever its window. What a test sees fire in seconds with this fires in
    minutes without.
    """

    def shorten(found: re.Match[str]) -> str:
        number, unit = next((found[i], found[i + 1]) for i in (1, 3, 5) if found[i])
        return f"{max(least_seconds, int(number) * _SECONDS[unit] // times)}s"

    return _DURATION.sub(shorten, text)
