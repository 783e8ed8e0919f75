"""`api_output`: what the run answers, and where else the answer goes."""

from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta

from libs.flows.nodes.node import Config, Node, ShortText
from libs.flows.scope import Scope
from libs.flows.sources import Sources
from libs.flows.templates import Renderer
from libs.runtime.failures import Terminal
from libs.runtime.mail_addresses import parse_addresses

Line = Annotated[str, Meta(min_length=1, max_length=1_000)]


class Email(Config, frozen=True, kw_only=True):
    """An email with the run's output. Both are templates."""

    to: Annotated[Line, Meta(description="one address, or several with commas between")]
    subject: Line


class ApiOutputConfig(Config, frozen=True, kw_only=True):
    """The run's output, and whom to tell when the run is over. Everything is templated."""

    value: Annotated[Any, Meta(description="any JSON; a lone lookup keeps its type")]
    callback_url: Annotated[ShortText, Meta(description="gets the run object by POST")] | None = None
    email: Email | None = None


class Deliveries(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where one run's output goes besides its caller, lookups filled in."""

    callback_url: str | None = None
    email: Email | None = None


class ApiOutputProgram(msgspec.Struct, frozen=True, kw_only=True):
    """The compiled templates; an absent delivery is None."""

    value: Renderer
    callback_url: Renderer | None
    to: Renderer | None
    subject: Renderer | None


class ApiOutput(Node[ApiOutputProgram], frozen=True, kw_only=True, tag="api_output"):
    """Gives the run's output out."""

    title: ClassVar[str] = "API output"
    output: ClassVar[str] = "the run's output, any JSON"
    processing: ClassVar[bool] = False
    guarded: ClassVar[frozenset[str]] = frozenset({"callback_url", "email"})

    config: ApiOutputConfig

    def compile(self, sources: Sources) -> ApiOutputProgram:
        config = self.config
        program = ApiOutputProgram(
            value=sources.value("/value", config.value),
            callback_url=sources.url("/callback_url", config.callback_url) if config.callback_url else None,
            to=sources.text("/email/to", config.email.to) if config.email else None,
            subject=sources.text("/email/subject", config.email.subject) if config.email else None,
        )
        for pointer, reference in list(sources.references):
            if reference.root == "secret" and not pointer.startswith("/value"):
                sources.fault(pointer, "can't read secrets: whom to tell is stored in the log")
        return program

    @property
    def delivers(self) -> bool:
        """Whether it tells anybody but the caller."""
        return self.config.callback_url is not None or self.config.email is not None

    def evaluate(self, scope: Scope) -> Any:
        return self.program.value.render(scope)

    def deliveries(self, scope: Scope) -> Deliveries:
        """Whom to tell; the notifier does the telling. Raises `Terminal` for an address that is none."""
        callback_url = self.program.callback_url
        return Deliveries(callback_url=callback_url.render(scope) if callback_url else None, email=self._email(scope))

    def _email(self, scope: Scope) -> Email | None:
        if self.program.to is None or self.program.subject is None:
            return None
        to, subject = self.program.to.render(scope).strip(), self.program.subject.render(scope)
        try:
            addresses = parse_addresses(to)
        except ValueError as error:
            raise Terminal("node_failed", f"email: {error}") from error
        return Email(to=", ".join(addresses), subject=" ".join(subject.split()))
