"""A call of the API as data: method, path, right, types. Handlers, the OpenAPI document and its tests follow from it.

A handler takes a `Call` and answers a `Reply` (or a response of its own, for streams and pages). Everything around it
happens here once: the request's id, the caller, the right, the body, the errors.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from time import perf_counter
from typing import Any, Generic, TypeVar

import msgspec
import structlog
from aiohttp import web

from libs.edge.bodies import decode, read_body
from libs.edge.callers import Callers, Refusal
from libs.edge.metrics import Meter, failed, unrouted
from libs.edge.problems import Problem, ProblemBody, render
from libs.edge.queries import read_query
from libs.edge.whole import Detour, ExpressRoutes, Prepare, is_whole
from libs.edge.whole import Handler as HttpHandler
from libs.events.auth_calls import Actor, Principal, allows
from libs.events.managed import Limits, Permission
from libs.runtime.failures import Retryable, Terminal
from libs.runtime.ids import is_token, new_id
from libs.runtime.tracing import Span, begin

log = structlog.get_logger()

App = TypeVar("App", covariant=True)

_ID = "request_id"
_CALLER = "caller"
_SPAN = "span"
_HOST = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:%\[\]-]*")
_TRACE = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """An answer with a JSON body; None: no body."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = {}


class Call(msgspec.Struct, Generic[App], frozen=True, kw_only=True):
    """One request, understood: who calls, with what. `app` is what the composition root made."""

    app: App
    request: web.Request
    caller: Principal
    request_id: str
    body: Any = None
    query: Any = None

    @property
    def address(self) -> str:
        """The network address of the peer."""
        return self.request.remote or ""

    @property
    def actor(self) -> Actor:
        """The caller as the auth service is told of them."""
        return Actor(key_id=self.caller.key_id, workspace=self.caller.workspace, address=self.address)

    @property
    def trace(self) -> str | None:
        """The trace that the request belongs to (W3C Trace Context, `traceparent`); None without a valid one.

        Where traces are on it is this request's own span, below the caller's.
        """
        span: Span | None = self.request.get(_SPAN)
        return _given_trace(self.request) if span is None else span.traceparent

    def act_for(self, caller: Principal) -> None:
        """Say on whose behalf a call without a key is answered, for the headers of its answer."""
        self.request[_CALLER] = caller

    def needs_connection(self) -> None:
        """Said by a plain route's handler, before it does anything, where it is going to answer bit by bit."""
        if is_whole(self.request):
            raise Detour

    def path(self, name: str) -> str:
        """A path parameter, checked to be an id or a slug; anything else cannot exist, and is a 404."""
        value = self.request.match_info[name]
        if not is_token(value):
            raise Problem("not_found", "There is nothing at this address.")
        return value


Handler = Callable[[Call[Any]], Awaitable[Reply | web.StreamResponse]]


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """A call of the API. `body`, `query` and `answer` are the types that its JSON has."""

    method: str
    path: str
    handler: Handler
    summary: str
    tag: str
    permission: Permission | None
    """The right that the key needs; None: the handler decides (and `caller` may be anybody's key)."""
    body: Any = None
    raw: bool = False
    """Whether the handler reads the body by itself, as bytes; `body` then only says what they are to be."""
    file_part: str | None = None
    """The part with a file in a multipart body, which the handler reads by itself."""
    query: Any = None
    answer: Any = None
    status: int = 200
    also: Mapping[int, str] = {}
    """Further statuses of success, with what they mean; the body is the same, but for 204."""
    unbound: bool = False
    """Whether a key that is bound to deployments is refused: the call changes what is the whole workspace's."""
    content_types: tuple[str, ...] = ("application/json",)
    """What the answer may be besides; an event stream for instance."""
    headers: Mapping[str, str] = {}
    """Request headers that mean something to this call, with what they mean."""
    plain: bool = False
    """Whether its handler looks at no more of a request than `WholeRequest` has, or says that it needs a connection."""
    anonymous: bool = False
    """Whether it may be called without a key: the handler then decides by what is called."""
    error: Any = ProblemBody
    """The type of its errors' bodies."""
    errors: Callable[[Problem, str], web.Response] = render
    """How its problems look, given the request's id; dialects have envelopes of their own."""


class Edge(msgspec.Struct, frozen=True, kw_only=True):
    """What serving any route needs."""

    app: Any
    callers: Callers
    max_body_bytes: int


ANONYMOUS = Principal(key_id="public", workspace="", permissions=(), plan="free", limits=Limits())
"""Who calls without a key. It belongs to no workspace, so nothing is found for it."""


HeadersOf = Callable[[Principal], Awaitable[Mapping[str, str]]]


def add_headers(headers_of: HeadersOf) -> Prepare:
    """For `on_response_prepare`: every answer to a caller, a stream too, has what `headers_of` says of it."""

    async def add(request: web.Request, response: web.StreamResponse) -> None:
        caller = request.get(_CALLER)
        if caller is not None and caller.workspace:
            for name, value in (await headers_of(caller)).items():
                response.headers.setdefault(name, value)

    return add


def serve(edge: Edge, route: Route) -> web.RouteDef:
    """The route for aiohttp."""
    return web.route(route.method, route.path, _handler(edge, route), expect_handler=_promise_nothing)


def express(edge: Edge, routes: Iterable[Route], prepare: Prepare) -> ExpressRoutes:
    """What answers whole requests to the plain ones of the routes, with the same handling as by `serve`."""

    def handler(route: Route) -> HttpHandler:
        handle = _handler(edge, route)
        return lambda request: problems(request, handle)

    return ExpressRoutes([(each.path, handler(each)) for each in routes if each.plain], prepare, edge.max_body_bytes)


def _handler(edge: Edge, route: Route) -> HttpHandler:
    meter = Meter(route.method, route.path, route.handler)
    title = f"{route.method} {route.path}"

    async def handle(request: web.Request) -> web.StreamResponse:
        response: web.StreamResponse
        began = perf_counter()
        span = begin(title, _given_trace(request), "SERVER")
        if span is not None:
            request[_SPAN] = span
        try:
            response = await answer(request)
        except Exception as error:  # noqa: BLE001  # every failure has an answer in the route's own words
            problem = as_problem(error, request)
            failed(problem)
            response = route.errors(problem, request[_ID])
        except Detour:
            raise  # the library's connection begins another span: this one is not ended, and so never was
        except BaseException:
            if span is not None:  # the caller left, or this process does
                span.fail("cancelled")
                span.end()
            raise
        meter.answered(response, perf_counter() - began)
        if span is not None:
            _end_span(span, route, request, response)
        return response

    async def answer(request: web.Request) -> web.StreamResponse:
        caller = request[_CALLER] = await _caller(edge.callers, request, anonymous=route.anonymous)
        if route.permission is not None and caller is not ANONYMOUS:
            require(caller, route.permission)
        if route.unbound and caller.deployment_ids:
            raise Problem("forbidden", "This key is bound to deployments; this call concerns the whole workspace.")
        call: Call[Any] = Call(
            app=edge.app,
            request=request,
            caller=caller,
            request_id=request[_ID],
            body=await _body(edge, route, request),
            query=None if route.query is None else read_query(request, route.query),
        )
        reply = await route.handler(call)
        return reply if isinstance(reply, web.StreamResponse) else respond(reply)

    return handle


def respond(reply: Reply) -> web.Response:
    """The reply as an HTTP response."""
    if reply.body is None:
        return web.Response(status=reply.status, headers=reply.headers)
    body = msgspec.json.encode(reply.body)
    return web.Response(status=reply.status, body=body, content_type="application/json", headers=reply.headers)


def require(caller: Principal, permission: Permission) -> None:
    """Problem `forbidden` unless the key has the right; `admin` implies all."""
    if not allows(caller.permissions, permission):
        raise Problem("forbidden", f"This key does not have the right `{permission}`.")


async def _body(edge: Edge, route: Route, request: web.Request) -> Any:
    if route.body is None or route.raw:
        return None
    return decode(await read_body(request, edge.max_body_bytes), route.body)


def _given_trace(request: web.Request) -> str | None:
    given = request.headers.get("traceparent", "")
    return given if _TRACE.fullmatch(given) else None


def _end_span(span: Span, route: Route, request: web.Request, response: web.StreamResponse) -> None:
    """By the semantic conventions for HTTP servers: a 4xx is the caller's failure, not this span's."""
    told: dict[str, str | int] = {
        "http.request.method": route.method,
        "http.route": route.path,
        "http.response.status_code": response.status,
        "headgate.request.id": request[_ID],
    }
    run_id = response.headers.get("Headgate-Run-Id")
    span.set(told | {"headgate.run.id": run_id} if run_id else told)
    if response.status >= 500:
        span.fail(str(response.status))
    span.end()


async def _promise_nothing(_: web.Request) -> None:
    """Answers no `Expect` before the caller and the body's size are known: `read_body` asks for the body."""


async def _caller(callers: Callers, request: web.Request, *, anonymous: bool) -> Principal:
    key = callers.key_of(request.headers)
    if key is None and anonymous:
        return ANONYMOUS
    if key is None:
        raise Problem("unauthorized", "Send an API key: `Authorization: Bearer sk-…`, `X-API-Key` or `api-key`.")
    return await callers.verify(key)


@web.middleware
async def problems(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Gives each request an id and turns whatever goes wrong into an answer that says so."""
    given = request.headers.get("X-Request-Id", "")
    request[_ID] = request_id = given if is_token(given) else new_id("req")
    try:
        if not _HOST.fullmatch(request.headers.get("Host", "")):
            raise Problem("invalid_input", "The Host header is not a host.")
        response = await handler(request)
    except Exception as error:  # noqa: BLE001  # the outermost layer: every failure has an answer
        problem = as_problem(error, request)
        unrouted(problem)
        response = render(problem, request_id)
    if not response.prepared:
        response.headers["X-Request-Id"] = request_id
        if _is_lost(request):
            response.force_close()
    return response


def _is_lost(request: web.Request) -> bool:
    """Whether it is not known where the next request begins: the body is broken, or was announced and not asked for."""
    return request.content.exception() is not None or ("Expect" in request.headers and request.can_read_body)


def as_problem(error: Exception, request: web.Request) -> Problem:
    """What a caller is told about a failure; what they are not told is logged."""
    match error:
        case Problem():
            return error
        case Refusal():
            return error.problem()
        case Retryable(code="unavailable"):
            return Problem("unavailable", "The service cannot take this request now; try again shortly.")
        case Terminal(code="egress_refused"):
            return Problem("egress_refused", error.message)
        case web.HTTPMethodNotAllowed():
            allowed = ", ".join(sorted(error.allowed_methods))
            detail = f"{request.method} is not a method of this path; it takes {allowed}."
            return Problem("not_found", detail, status=405, headers={"Allow": allowed})
        case web.HTTPNotFound():
            return Problem("not_found", "There is nothing at this address; /openapi.json lists what there is.")
        case web.HTTPRequestEntityTooLarge():
            return Problem("payload_too_large", "The body is too large.")
        case web.HTTPException() if error.status < 500:
            return Problem("invalid_input", error.reason, status=error.status)
        case _:
            log.exception("request failed", path=request.path, request_id=request.get(_ID), exc_info=error)
            return Problem("unavailable", "Something failed on our side; it was logged.", status=500)
