"""Whom a run's end is to be told to, as far as the run and its flow say so; it is stored with the end.

A run that fails or is cancelled has not come to its outputs, but who waits for a callback waits for that too: so the
outputs that were not reached are asked as well, and those that cannot say whom yet, because a lookup has nothing to
read, are passed over.
"""

from collections.abc import Callable, Iterable

from libs.egress import Policy, check_url
from libs.events.run_events import Audience, Mail, RequestedData
from libs.flows import AnyNode, Scope
from libs.flows.nodes.api_output import ApiOutput
from libs.runtime.failures import Failure


def audience_of(
    requested: RequestedData, nodes: Iterable[AnyNode], scope: Callable[[AnyNode], Scope]
) -> Audience | None:
    """The callbacks and emails of the run's request and of its outputs; None: there are none."""
    urls = [requested.callback_url] if requested.callback_url else []
    emails = []
    for node in nodes:
        if not isinstance(node, ApiOutput) or not node.delivers:
            continue
        try:
            found = node.deliveries(scope(node))
        except Failure:
            continue
        if found.callback_url:
            urls.append(found.callback_url)
        if found.email:
            emails.append(Mail(to=found.email.to, subject=found.email.subject))
    if not urls and not emails:
        return None
    return Audience(callback_urls=tuple(dict.fromkeys(urls)), emails=tuple(emails))


def check_audience(node: AnyNode, scope: Scope, policy: Policy) -> None:
    """Raise the Failure of an output that wants to tell somebody who cannot be told: the node then fails with it."""
    if isinstance(node, ApiOutput) and node.delivers:
        found = node.deliveries(scope)
        if found.callback_url:
            check_url(found.callback_url, policy)
