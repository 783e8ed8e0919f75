"""Traces, by OpenTelemetry: a span begun here is a child of whatever `traceparent` (W3C Trace Context) it is given.

Off unless an OTLP endpoint is configured; then nothing of OpenTelemetry is even imported, and `begin` answers None,
which costs what a call of a function costs. On, a call that its caller records is recorded, and else one in twenty,
decided once where the trace begins: the decision travels in the `traceparent` with the run. The `OTEL_*` variables mean
what they mean everywhere. Attributes are ids, types, names and counts: never inputs, prompts, outputs or keys.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.metadata import version
from threading import Thread
from typing import TYPE_CHECKING, Literal

import structlog

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span as OtelSpan
    from opentelemetry.trace import Tracer

_DEFAULT_SHARE = 0.05
_LEAVE_SECONDS = 2.0
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")

Kind = Literal["INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"]
Attributes = Mapping[str, str | int | float | bool]

log = structlog.get_logger()

_tracer: "Tracer | None" = None
_current: ContextVar["Span | None"] = ContextVar("span", default=None)


class Span:
    """A span that was begun. `end` it, once."""

    __slots__ = ("_span",)

    def __init__(self, span: "OtelSpan") -> None:
        self._span = span

    @property
    def traceparent(self) -> str:
        """What its children are begun with, here or in another process."""
        context = self._span.get_span_context()
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"

    @property
    def recorded(self) -> bool:
        """Whether anybody will see it: most are only there to pass on that their trace is not recorded."""
        return self._span.is_recording()

    def set(self, attributes: Attributes) -> None:
        """Say more about it."""
        self._span.set_attributes(attributes)

    def fail(self, code: str) -> None:
        """It failed, for a reason that has a name."""
        from opentelemetry.trace import Status, StatusCode

        self._span.set_attribute("error.type", code)
        self._span.set_status(Status(StatusCode.ERROR, code))

    def end(self) -> None:
        """It is over."""
        self._span.end()

    def make_current(self) -> None:
        """Let `current` answer this one for the rest of the task."""
        _current.set(self)


def begin(name: str, parent: str | None, kind: Kind = "INTERNAL", attributes: Attributes | None = None) -> Span | None:
    """A span below `parent` (a `traceparent`; None or no such thing: a trace of its own). None: traces are off."""
    if _tracer is None:
        return None
    return _begin(_tracer, name, parent, kind, attributes)


@contextmanager
def span(
    name: str, parent: str | None, kind: Kind = "INTERNAL", attributes: Attributes | None = None
) -> Iterator[Span | None]:
    """The same for as long as the context is open; what is raised ends it as failed, by the name of its class."""
    begun = begin(name, parent, kind, attributes)
    try:
        yield begun
    except BaseException as error:
        if begun is not None:
            begun.fail(type(error).__name__)
        raise
    finally:
        if begun is not None:
            begun.end()


def current() -> str | None:
    """The `traceparent` of the span that this task made current."""
    found = _current.get() if _tracer is not None else None
    return None if found is None else found.traceparent


def trace_id(traceparent: str | None) -> str | None:
    """The trace that a `traceparent` belongs to, for logs; None where there is none."""
    found = _TRACEPARENT.fullmatch(traceparent) if traceparent else None
    return found[1] if found else None


def is_recorded(traceparent: str | None) -> bool:
    """Whether this process records what belongs to the trace."""
    return _tracer is not None and traceparent is not None and bool(int(traceparent[-1], 16) & 1)


@contextmanager
def tracing(service: str, instance: str, environment: Mapping[str, str]) -> Iterator[None]:
    """Record and export this process's spans for as long as the context is open, where that is configured."""
    global _tracer  # one a process, as the library has it
    provider = _provider(service, instance, environment) if _wanted(environment) else None
    if provider is None:
        yield
        return
    _tracer = provider.get_tracer("headgate")
    log.info("tracing is on")
    try:
        yield
    finally:
        _tracer = None
        _leave(provider)


def _provider(service: str, instance: str, environment: Mapping[str, str]) -> "TracerProvider | None":
    """None where the library takes a variable for none of its values: nobody stops serving for that."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

    name = {"service.name": f"headgate-{service}", "service.version": version("headgate")}
    # With a sampler in the environment the library reads it itself.
    sampler = None if "OTEL_TRACES_SAMPLER" in environment else ParentBased(TraceIdRatioBased(_DEFAULT_SHARE))
    try:
        resource = Resource.create({**name, "service.instance.id": instance})
        provider = TracerProvider(sampler=sampler, resource=resource, shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    except ValueError as error:
        log.error("no traces: a variable OTEL_* does not fit", reason=str(error))  # noqa: TRY400  # its text says it all
        return None
    return provider


def _leave(provider: "TracerProvider") -> None:
    """Export what is left, for a moment: the library would try for ten seconds while nobody takes it."""
    leaving = Thread(target=provider.shutdown, daemon=True)
    leaving.start()
    leaving.join(_LEAVE_SECONDS)
    if leaving.is_alive():
        log.warning("the last spans were not exported")


def _wanted(environment: Mapping[str, str]) -> bool:
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    if environment.get("OTEL_TRACES_EXPORTER", "otlp") != "otlp" or not any(environment.get(n) for n in _ENDPOINTS):
        return False
    protocols = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
    protocol = next((environment[name] for name in protocols if environment.get(name)), "http/protobuf")
    if protocol != "http/protobuf":
        log.warning("no traces: spans are exported over http/protobuf only", protocol=protocol)
        return False
    return True


def _begin(tracer: "Tracer", name: str, parent: str | None, kind: Kind, attributes: Attributes | None) -> Span:
    from opentelemetry.context import Context
    from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, TraceFlags, set_span_in_context

    context = Context()
    found = _TRACEPARENT.fullmatch(parent) if parent else None
    if found is not None:
        remote = SpanContext(int(found[1], 16), int(found[2], 16), True, TraceFlags(int(found[3], 16) & 1))
        context = set_span_in_context(NonRecordingSpan(remote), context)
    return Span(tracer.start_span(name, context, SpanKind[kind], attributes))
