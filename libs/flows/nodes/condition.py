"""`condition`: sends the run along one of several ports."""

from typing import Annotated, ClassVar

from msgspec import Meta

from libs.flows.expressions import Expression
from libs.flows.nodes.node import Config, Node, ShortText
from libs.flows.scope import Scope
from libs.flows.sources import Sources

ELSE = "else"


class Case(Config, frozen=True, kw_only=True):
    """One way out and when it is taken."""

    port: Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{1,64}$")]
    when: Annotated[ShortText, Meta(min_length=1, description='JMESPath; null, false, "", [] and {} are false')]


class ConditionConfig(Config, frozen=True, kw_only=True):
    """The first case that holds names the port that is taken; if none does, it is `else`."""

    cases: Annotated[tuple[Case, ...], Meta(min_length=1, max_length=50)]


class Condition(Node[tuple[tuple[str, Expression], ...]], frozen=True, kw_only=True, tag="condition"):
    """Chooses a port; edges from it carry a `source_port`, and only those of the chosen port are taken."""

    title: ClassVar[str] = "Condition"
    output: ClassVar[str] = '{"port": string}'

    config: ConditionConfig

    @property
    def ports(self) -> tuple[str, ...]:
        return (*(case.port for case in self.config.cases), ELSE)

    def compile(self, sources: Sources) -> tuple[tuple[str, Expression], ...]:
        seen = {ELSE}
        program = []
        for at, case in enumerate(self.config.cases):
            if case.port in seen:
                problem = "is taken when no case holds" if case.port == ELSE else "is used by an earlier case"
                sources.fault(f"/cases/{at}/port", f"{case.port!r} {problem}")
            seen.add(case.port)
            program.append((case.port, sources.expression(f"/cases/{at}/when", case.when)))
        return tuple(program)

    def evaluate(self, scope: Scope) -> dict[str, str]:
        for port, expression in self.program:
            if expression.holds(scope, "condition"):
                return {"port": port}
        return {"port": ELSE}
