"""Defects that the product does not have, each put into its code for a while: the simulation has to find them.

A mutation replaces a piece of a function's text. When that piece is no longer there, whoever changed it says here what
the same mistake would look like now.
"""

import importlib
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType, FunctionType
from typing import Any

import msgspec


class Mutation(msgspec.Struct, frozen=True):
    """`function` is `module:name` or `module:Class.name`; `old` occurs in its module once.

    `seed` found it when it was written down, and is tried before all others.
    """

    seed: int
    name: str
    function: str
    old: str
    new: str


_APPEND = "libs.events.appends:_store"

MUTATIONS = (
    Mutation(0, "appends are not compared", _APPEND, '{"Nats-Expected-Last-Subject-Sequence": str(after)}', "{}"),
    Mutation(
        0,
        "whoever is refused appends all the same",
        _APPEND,
        "raise Conflict(last)",
        'headers["Nats-Expected-Last-Subject-Sequence"] = str(last.sequence)',
    ),
    Mutation(
        135,
        "a request that was refused is taken for stored, because the held one has the same words",
        _APPEND,
        "if last is not None and last.sequence != after:",
        "if last is not None:",
    ),
    Mutation(
        1,
        "after a lost acknowledgement nobody looks what became of it",
        _APPEND,
        "last = await last_message(broker, stream, compare or subject)",
        "last = None",
    ),
    Mutation(
        19,
        "a gap in what was read is not seen",
        "libs.events.reads:read_part",
        "    _require_unbroken(found, status)\n",
        "\n",
    ),
    Mutation(
        0,
        "messages are acknowledged before they are handled",
        "libs.events.worker:Worker._call",
        "tries = 0\n",
        'tries = 0; await self._answer(delivery, b"+ACK")\n',
    ),
    Mutation(
        1,
        "a run that is delivered again is begun anew",
        "services.executor.runs:Runs._state",
        "if delivery.attempt == 1:\n            if requested",
        "if True:\n            if requested",
    ),
    Mutation(
        4,
        "a run of a group is appended to although it has not left it",
        "libs.events.log:EventLog._after_leaving",
        "part_of(run, await self.leave(entry_of(run), [run.run_id]))",
        "None",
    ),
    Mutation(
        4,
        "ends of a group are stored for runs that left it meanwhile",
        "services.executor.together:Together._store",
        "if run_id not in left}",
        "}",
    ),
    Mutation(
        0,
        "an effect begins before its start is on the log",
        "services.executor.attempts:Attempts.attempt",
        "known.attempt + 1 if known else 1)\n        await self._journal.flush()",
        "known.attempt + 1 if known else 1)",
    ),
    Mutation(
        0,
        "a slot is never free again",
        "services.gateway.admission.gate:Gate._refresh",
        "if end is not None]",
        "if end is not None and not end]",
    ),
    Mutation(
        2,
        "a follower does not see that it missed something",
        "libs.events.follow:_Reader.continue_with",
        "if append.events[0].seq > self._seq + 1:",
        "if False:",
    ),
    Mutation(
        52,
        "a run that is carried through twice is two turns of its session",
        "libs.events.sessions:with_turn",
        "if any(known.run_id == turn.run_id for known in going.turns):",
        "if False:",
    ),
)


@contextmanager
def mutated(mutation: Mutation) -> Iterator[None]:
    """The product with the mistake in it."""
    module_name, _, name = mutation.function.partition(":")
    module = importlib.import_module(module_name)
    source = inspect.getsource(module)
    if source.count(mutation.old) != 1:
        raise LookupError(f"{module_name} holds {mutation.old!r} {source.count(mutation.old)} times")
    sound = _function(vars(module), name)
    before = sound.__code__
    broken = _code(compile(source.replace(mutation.old, mutation.new), before.co_filename, "exec"), name)
    if (broken.co_code, broken.co_consts) == (before.co_code, before.co_consts):
        raise LookupError(f"{mutation.old!r} is not in {name}")
    sound.__code__ = broken
    try:
        yield
    finally:
        sound.__code__ = before


def _function(module: dict[str, Any], name: str) -> FunctionType:
    holder, _, method = name.partition(".")
    found = getattr(module[holder], method) if method else module[holder]
    assert isinstance(found, FunctionType)
    return found


def _code(compiled: CodeType, name: str) -> CodeType:
    """The code of the function of that qualified name, wherever in the module it is."""
    for inner in compiled.co_consts:
        if isinstance(inner, CodeType):
            if inner.co_qualname == name:
                return inner
            if name.startswith(inner.co_qualname + "."):
                return _code(inner, name)
    raise LookupError(f"there is no {name}")
