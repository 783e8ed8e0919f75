"""The command line: an input in, its output or what is wrong with it out."""

import sys
from collections.abc import Callable
from typing import Any

from libs.flows.export.runtime.fields import InvalidInput
from libs.flows.export.runtime.settling import RunFailure
from libs.flows.export.runtime.values import read_json, to_json
from libs.runtime.failures import Failure


def main(run: Callable[[Any], Any], about: str | None) -> int:
    """The exit status: 0 with the output on stdout, 1 for a failed run, 2 for a wrong input, on stderr why."""
    arguments = sys.argv[1:]
    if arguments in (["--help"], ["-h"]):
        print((about or "").strip())
        return 0
    try:
        output = run(_given(arguments))
    except InvalidInput as invalid:
        print(invalid, file=sys.stderr)
        return 2
    except Failure as failure:
        node = f"node {failure.node}: " if isinstance(failure, RunFailure) and failure.node else ""
        print(f"{node}{failure.code}: {failure.message}", file=sys.stderr)
        return 1
    sys.stdout.buffer.write(to_json(output).encode() + b"\n")
    return 0


def _given(arguments: list[str]) -> Any:
    """The input: the one argument, `-` for standard input, an empty object where there is none."""
    if len(arguments) > 1:
        raise InvalidInput([("", "one argument is taken, the input as JSON; quote it as one word")])
    source = "".join(arguments) or "{}"
    try:
        return read_json(sys.stdin.buffer.read().decode() if source == "-" else source)
    except (ValueError, RecursionError):
        raise InvalidInput([("", "is not JSON")]) from None
