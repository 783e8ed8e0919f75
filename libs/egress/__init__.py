"""Outbound HTTP that cannot reach private networks: the only way out of Headgate.

`check_url` judges a URL before it is stored or used, `Egress` sends requests. Who may be reached is a
`Policy`; the guard itself is the DNS resolver and the socket factory under `Egress`, so that no caller can
forget it.
"""

from libs.egress.client import Egress
from libs.egress.messages import Answer, Request, Streamed
from libs.egress.policy import EgressRefused, Policy
from libs.egress.urls import check_url

__all__ = ["Answer", "Egress", "EgressRefused", "Policy", "Request", "Streamed", "check_url"]
