"""JMESPath (jmespath.org) over the nodes' outputs, `run` and `session`."""

from typing import Any

import jmespath
from jmespath.exceptions import JMESPathError

from libs.flows.export.runtime.scope import Scope
from libs.flows.weight import weighed
from libs.runtime.failures import Terminal


def search(scope: Scope, expression: str, what: str = "transform") -> Any:
    """The result. Raises `Terminal` for a function's wrong argument and a result that is no JSON."""
    data = {**scope.outputs, "run": scope.run, "session": scope.session}
    try:
        result = jmespath.search(expression, data)
    except JMESPathError as error:
        raise Terminal("node_failed", f"{what}: {_said(error)}") from None
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise Terminal("node_failed", f"{what}: {type(error).__name__} in the expression") from None
    return weighed(result, what)


def choose(scope: Scope, cases: dict[str, str]) -> dict[str, str]:
    """The first port whose expression is true, else `else`. JMESPath's false are null, false, "", [] and {}."""
    for port, when in cases.items():
        result = search(scope, when, "condition")
        if result is not None and result is not False and result not in ("", [], {}):
            return {"port": port}
    return {"port": "else"}


def _said(error: JMESPathError) -> str:
    """What went wrong, without the data that the library's own message quotes."""
    function = getattr(error, "function_name", None)
    expected = getattr(error, "expected_types", None)
    if function and expected:
        return f"{function}() expects {' or '.join(map(str, expected))}, not {getattr(error, 'actual_type', None)}"
    return "the expression can't be evaluated"
