"""What a mail says: of a run that ended, of a delivery that failed for good, or only that mail arrives. Pure.

A letter is read by people, so that what a run puts out is shown and never interpreted: control characters are left out,
what is long is cut, and the HTML template escapes whatever it is given.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from libs.events.deliveries import Delivery, ToEmail
from libs.events.run import Run
from services.notifier.alerts import ALERT
from services.notifier.channels import Story

MAX_TEXT_CHARACTERS = 32_000
"""Of an output. Some readers of mail hide what comes behind about a hundred kilobytes."""

_CUT = f"This is the beginning: {MAX_TEXT_CHARACTERS:,} of {{:,}} characters. The run has all of it."

_MAX_FACT_CHARACTERS = 2_000
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")

_HEADLINES = {"completed": "The run is completed", "failed": "The run failed", "cancelled": "The run was cancelled"}


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """A mail before it is laid out."""

    headline: str
    facts: Sequence[tuple[str, str]]
    text: str = ""
    note: str = ""
    link: str = ""
    why: str = ""
    """Why its reader gets it."""


def letter_of(delivery: Delivery, story: Story | None, public_url: str) -> Letter:
    """What a delivery says. Without a story it is an alert, or a test."""
    if story is not None:
        return _run(story.run, public_url)
    if delivery.event == ALERT:
        return _alert(delivery)
    return Letter(
        headline="Mail from Headgate arrives here",
        facts=[("Delivery", delivery.id), ("Asked for", _time(delivery.created_at))],
        text="This is a test. Nothing happened, and nothing needs to be done.",
    )


class Layout:
    """The two forms of a letter."""

    def __init__(self) -> None:
        environment = Environment(
            loader=FileSystemLoader(Path(__file__).parent / "channels" / "templates"),
            autoescape=select_autoescape(["html"], default=False),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        self._plain = environment.get_template("letter.txt")
        self._html = environment.get_template("letter.html")

    def plain(self, letter: Letter) -> str:
        """As text."""
        return self._plain.render(letter=letter)

    def html(self, letter: Letter) -> str:
        """As HTML, whatever the letter holds."""
        return self._html.render(letter=letter)


def printable(text: str) -> str:
    """`text` without what does not print, lines kept."""
    return _UNPRINTABLE.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def _run(run: Run, public_url: str) -> Letter:
    facts = [("Run", run.id), ("Flow", f"{run.flow_id}, version {run.version}"), ("Deployment", run.deployment_id)]
    facts += [("Status", run.status)]
    if run.session_id:
        facts.append(("Session", _fact(run.session_id)))
    facts.append(("Asked for", _time(run.created_at)))
    if run.finished_at is not None:
        facts.append(("Ended", _time(run.finished_at)))
    if run.duration_seconds is not None:
        facts.append(("Took", f"{run.duration_seconds:.3f} s"))
    if run.error is not None:
        facts += [("Error", run.error.code), ("Reason", _fact(run.error.message))]
        facts += [("Node", _fact(run.error.node))] if run.error.node else []
    text = _text(run.output)
    link = f"{public_url.rstrip('/')}/v1/runs/{run.id}" if public_url else ""
    return Letter(
        headline=_HEADLINES.get(run.status, f"The run is {run.status}"),
        facts=facts,
        text=printable(text[:MAX_TEXT_CHARACTERS]),
        note=_CUT.format(len(text)) if len(text) > MAX_TEXT_CHARACTERS else "",
        link=link,
        why="because the flow or its deployment names this address",
    )


def _alert(delivery: Delivery) -> Letter:
    subject = delivery.target.subject if isinstance(delivery.target, ToEmail) else ""
    facts = [("Workspace", delivery.workspace)]
    facts += [("Flow", delivery.flow_id)] if delivery.flow_id else []
    facts += [("Deployment", delivery.deployment_id)] if delivery.deployment_id else []
    facts += [("Alert", delivery.id), ("At", _time(delivery.created_at))]
    return Letter(
        headline="Headgate could not tell what it was to tell",
        facts=facts,
        text=_fact(subject),
        note="Of one receiver an alert is sent once a day. Deliveries can be listed and sent again through the API.",
        why="because HEADGATE_ALERT_EMAIL names this address",
    )


def _text(output: Any) -> str:
    """An output for people. Long JSON is not laid out: it is cut anyway."""
    if output is None or isinstance(output, str):
        return output or ""
    encoded = msgspec.json.encode(output)
    return (msgspec.json.format(encoded) if len(encoded) <= MAX_TEXT_CHARACTERS else encoded).decode()


def _fact(text: str) -> str:
    """A text on one line, as long as it may be."""
    line = " ".join(printable(text).split())
    return line if len(line) <= _MAX_FACT_CHARACTERS else f"{line[:_MAX_FACT_CHARACTERS]}…"


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"
