"""`delay`: lets time pass before what follows."""

from typing import Annotated, Any, ClassVar

from msgspec import Meta

from libs.flows.nodes.node import Config, Node, ShortText
from libs.flows.pauses import MAX_PAUSE_SECONDS, pause_seconds
from libs.flows.scope import Scope
from libs.flows.sources import Sources
from libs.flows.templates import Renderer
from libs.runtime.failures import Terminal


class DelayConfig(Config, frozen=True, kw_only=True):
    """How long; a text is templated, and what it renders to has to be a number."""

    seconds: (
        Annotated[float, Meta(ge=0, le=MAX_PAUSE_SECONDS, description="counted from the node's start")]
        | Annotated[ShortText, Meta(min_length=1)]
    )


class Delay(Node[Renderer], frozen=True, kw_only=True, tag="delay"):
    """Waits. Nobody holds the run meanwhile, and restarts do not disturb it; the run's time limit goes on."""

    title: ClassVar[str] = "Delay"
    output: ClassVar[str] = "{}"
    pauses: ClassVar[bool] = True

    config: DelayConfig

    def compile(self, sources: Sources) -> Renderer:
        found = sources.value("/seconds", self.config.seconds)
        if isinstance(self.config.seconds, str) and not found.references and not sources.faults:
            try:
                pause_seconds(self.config.seconds)
            except Terminal as wrong:
                sources.fault("/seconds", wrong.message.removeprefix("seconds "))
        return found

    def pause(self, scope: Scope) -> float:
        return pause_seconds(self.program.render(scope))

    def evaluate(self, scope: Scope) -> Any:
        return {}
