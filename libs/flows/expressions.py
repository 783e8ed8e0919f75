"""JMESPath (jmespath.org, the specification of 2015) over the nodes' outputs, `run` and `session`.

The language has no loops, but it can double its data at every step (`[@,@] | [@,@] | …`). So an expression has
fuel: each visited element, each flattened entry, each compared or written byte takes of it.
"""

from typing import Any

import msgspec
from jmespath.exceptions import JMESPathError, ParseError
from jmespath.functions import Functions
from jmespath.parser import Parser
from jmespath.visitor import Options, TreeInterpreter

from libs.flows.faults import printable
from libs.flows.lookups import Reference
from libs.flows.scope import Scope
from libs.flows.weight import MAX_BYTES, Unfit, weigh, weighed
from libs.runtime.failures import Terminal

MAX_STEPS = 1_000_000
"""Elements an evaluation may visit: about a second."""
MAX_NESTING = 64
_TOO_MANY_STEPS = f"an expression takes more than {MAX_STEPS} steps"

_FUNCTIONS = Functions()
_OPTIONS = Options(custom_functions=_FUNCTIONS)
_WHOLE = Reference(root="@")
_SECRET = Reference(root="secret")
_OF_FIRST_CHILD = frozenset({"pipe", "projection", "value_projection", "filter_projection", "flatten"})
_CHAINS = frozenset({"subexpression", "index_expression", "pipe"})
_WRITES_ITS_ARGUMENTS = frozenset({"contains", "join", "to_string"})


class InvalidExpression(ValueError):
    """An expression that can't be compiled; the text says why and where."""


class Expression(msgspec.Struct, frozen=True, kw_only=True):
    """A compiled expression, with what it reads at its top level."""

    tree: Any
    references: tuple[Reference, ...]

    def evaluate(self, scope: Scope, what: str) -> Any:
        """The result, plain JSON; `what` names the place in failures.

        Raises `Terminal` "node_failed" for a function's wrong argument, a result that isn't JSON, and one that
        takes too many steps or grows too large.
        """
        data = {
            root: getattr(scope, root) if root in ("run", "session") else scope.outputs.get(root)
            for root in [reference.root for reference in self.references]
        }
        try:
            result = _Interpreter().visit(self.tree, data)
        except JMESPathError as error:
            raise Terminal("node_failed", f"{what}: {_without_values(error)}") from None
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise Terminal("node_failed", f"{what}: {type(error).__name__} in the expression") from None
        return weighed(result, what)

    def holds(self, scope: Scope, what: str) -> bool:
        """Whether the result is true: JMESPath's false are null, false, "", [] and {}."""
        result = self.evaluate(scope, what)
        return result is not None and result is not False and result not in ("", [], {})


class _Interpreter(TreeInterpreter):
    """The library's interpreter, with fuel for one evaluation."""

    def __init__(self) -> None:
        super().__init__(_OPTIONS)
        self._steps = MAX_STEPS
        self._room = MAX_BYTES

    def visit(self, node: Any, value: Any) -> Any:
        self._steps -= 1
        if self._steps < 0:
            raise Terminal("node_failed", _TOO_MANY_STEPS)
        return _VISITS[node["type"]](self, node, value)

    def visit_flatten(self, node: Any, value: Any) -> Any:
        base = self.visit(node["children"][0], value)
        if not isinstance(base, list):
            return None
        self._take_steps(sum(len(element) for element in base if isinstance(element, list)))
        merged: list[Any] = []
        for element in base:
            merged.extend(element if isinstance(element, list) else [element])
        return merged

    def visit_comparator(self, node: Any, value: Any) -> Any:
        if node["value"] not in ("eq", "ne"):
            return super().visit_comparator(node, value)
        left, right = (self.visit(child, value) for child in node["children"])
        if isinstance(left, (list, dict)):
            self._take_room(left)
        return self.COMPARATOR_FUNC[node["value"]](left, right)

    def visit_function_expression(self, node: Any, value: Any) -> Any:
        arguments = [self.visit(child, value) for child in node["children"]]
        if node["value"] in _WRITES_ITS_ARGUMENTS:
            self._take_room(arguments)
            if node["value"] == "join" and isinstance(arguments[0], str):
                self._take_room(arguments[0], times=len(arguments[-1]) if arguments[-1] else 0)
        return _FUNCTIONS.call_function(node["value"], arguments)

    def _take_steps(self, steps: int) -> None:
        self._steps -= steps
        if self._steps < 0:
            raise Terminal("node_failed", _TOO_MANY_STEPS)

    def _take_room(self, value: Any, times: int = 1) -> None:
        try:
            self._room -= weigh(value, self._room) * times
        except Unfit as unfit:
            raise Terminal("node_failed", f"an expression handles a value that is {unfit}") from None
        if self._room < 0:
            raise Terminal("node_failed", f"an expression handles more than {MAX_BYTES} bytes")


_VISITS = {
    name.removeprefix("visit_"): getattr(_Interpreter, name) for name in dir(_Interpreter) if name[:6] == "visit_"
}


def compile_expression(text: str) -> Expression:
    """Raises `InvalidExpression`: the text is no JMESPath, calls an unknown function, nests too deep or reads `@`."""
    try:
        tree = Parser().parse(text).parsed
    except ParseError as error:
        raise InvalidExpression(_parse_problem(error)) from None
    except (JMESPathError, ValueError) as error:
        raise InvalidExpression(printable(str(error).splitlines()[0])) from None
    except RecursionError:
        raise InvalidExpression(f"nested more than {MAX_NESTING} levels deep") from None
    _check(tree)
    references = tuple(dict.fromkeys(_reads(tree)))
    if _WHOLE in references:
        raise InvalidExpression("reads every node at once; name the node: `node_id.path`")
    if _SECRET in references:
        raise InvalidExpression("an expression can't read secrets")
    return Expression(tree=tree, references=references)


def _parse_problem(error: ParseError) -> str:
    problem = str(error).splitlines()[0].removeprefix("Invalid jmespath expression: ")
    problem = problem.partition(": Parse error at column")[0].rstrip(":")
    return f"at character {error.lex_position + 1}: {printable(problem)}"


def _without_values(error: JMESPathError) -> str:
    """What went wrong in words that hold no data: the library's own message quotes the argument."""
    function = getattr(error, "function_name", None)
    expected = getattr(error, "expected_types", None)
    actual = getattr(error, "actual_type", None)
    if function and expected:
        return f"{function}() expects {' or '.join(map(str, expected))}, not {actual}"
    return "the expression can't be evaluated"


def _check(tree: Any) -> None:
    """Walks level by level, so that no depth can exhaust the stack."""
    level: list[Any] = [tree]
    for _ in range(MAX_NESTING):
        below: list[Any] = []
        for node in level:
            if node["type"] == "function_expression":
                _check_function(node["value"], len(node["children"]))
            below += [child for child in node["children"] if isinstance(child, dict)]
        if not below:
            return
        level = below
    raise InvalidExpression(f"nested more than {MAX_NESTING} levels deep")


def _check_function(name: str, arguments: int) -> None:
    known = Functions.FUNCTION_TABLE.get(name)
    if known is None:
        raise InvalidExpression(f"unknown function {printable(name)}()")
    signature = known["signature"]
    is_variadic = bool(signature) and signature[-1].get("variadic")
    if arguments < len(signature) or (arguments > len(signature) and not is_variadic):
        raise InvalidExpression(f"{name}() takes {len(signature)} argument(s), not {arguments}")


def _reads(node: Any) -> list[Reference]:
    """What a (sub)tree reads of the top level, where `@` is everything."""
    kind, children = node["type"], [child for child in node["children"] if isinstance(child, dict)]
    if kind == "field":
        return [Reference(root=node["value"])]
    if kind in ("current", "identity"):
        return [_WHOLE]
    if kind in ("literal", "expref", "index", "slice"):
        return []
    if kind in _CHAINS and children[0]["type"] in ("current", "identity"):
        return _reads({**node, "children": children[1:]}) if len(children) > 1 else [_WHOLE]
    if kind in _OF_FIRST_CHILD or kind in _CHAINS:
        return _reads(children[0])
    return [reference for child in children for reference in _reads(child)]
