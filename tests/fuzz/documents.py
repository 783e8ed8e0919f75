"""Flow documents made by chance: most of them good, and good ones with something in them replaced or taken away."""

from copy import deepcopy
from typing import Any

from hypothesis import strategies as st

from tests.flows.documents import chain, edge, greeter, node

_FIELD_TYPES = ["string", "number", "integer", "boolean", "object", "array"]
_TEMPLATES = ["{{ in.name }}", "plain", "{{ in }}", "{{ run.id }}", "{{ in.name }} twice {{ in.name }}"]
_EXPRESSIONS = ["in.name", "length(in)", "keys(in)", "in.name[0]", "`1`"]

numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**40), 10**40)
odd = st.sampled_from(["{{", "{{ in.name }}", "{{ in.name | json }}", "{{ x.y[0] }}", "in.a", "[?"])
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | odd
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@st.composite
def nodes(draw: st.DrawFn, node_id: str, effects: bool) -> dict[str, Any]:
    """A node of any type, with a config that is good in most places. Without `effects` nothing outside is asked."""
    text = draw(st.sampled_from(_TEMPLATES))
    kinds: list[tuple[str, dict[str, Any]]] = [
        ("template", {"text": text}),
        ("template", {"value": draw(values)}),
        ("transform", {"expression": draw(st.sampled_from(_EXPRESSIONS))}),
        ("condition", {"cases": [{"port": "yes", "when": draw(st.sampled_from(["in.name", "in.n > `1`"]))}]}),
        ("prompt", {"model": "echo/words", "prompt": text}),
        ("delay", {"seconds": draw(st.sampled_from([0, 0.01]))}),
    ]
    if effects:
        kinds.append(("http_request", {"url": f"http://example.com/{draw(st.integers(0, 9))}", "body": draw(values)}))
        kinds.append(("delay", {"seconds": draw(st.integers(-1, 10**9))}))
    return node(node_id, *draw(st.sampled_from(kinds)))


@st.composite
def documents(draw: st.DrawFn, effects: bool = True) -> dict[str, Any]:
    """A graph whose edges lead forward."""
    names = draw(st.lists(st.sampled_from(["a", "b", "c", "d"]), unique=True, min_size=1, max_size=4))
    fields = [{"name": "name", "type": draw(st.sampled_from(_FIELD_TYPES))}]
    made = [node("in", "api_input", {"fields": fields}), *[draw(nodes(name, effects)) for name in names]]
    made.append(node("out", "api_output", {"value": "{{ in.name }}"}))
    document = {**chain(*made), "edges": []}
    for place, target in enumerate(made[1:], 1):
        before = st.sampled_from(made[:place])
        for source in draw(st.lists(before, unique_by=lambda each: each["id"], min_size=1, max_size=2)):
            port = draw(st.sampled_from(["yes", "else"])) if source["type"] == "condition" else None
            document["edges"].append(edge(source["id"], target["id"], port))
    return document


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    """A document with something anywhere in it replaced, taken away or put twice."""
    document: Any = deepcopy(draw(documents() | st.just(greeter())))
    for _ in range(draw(st.integers(1, 3))):
        place = document
        while isinstance(place, dict | list) and place:
            key = draw(st.sampled_from(list(place) if isinstance(place, dict) else list(range(len(place)))))
            if isinstance(place[key], dict | list) and place[key] and draw(st.booleans()):
                place = place[key]
                continue
            how = draw(st.integers(0, 2))
            if how == 0:
                place[key] = draw(values)
            elif how == 1:
                del place[key]
            elif isinstance(place, list):
                place.append(deepcopy(place[key]))
            break
    return document
