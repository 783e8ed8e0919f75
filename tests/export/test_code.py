"""Generated code is data where users wrote it, and reads well."""

import ast
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from libs.flows.export.code import WIDTH, Call, Constant, Items, Name, data, literal, written

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(), inner, max_size=8),
)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_literal_is_the_text_again_printable_and_on_one_line(text: str) -> None:
    assert ast.literal_eval(literal(text)) == text
    assert literal(text).isprintable()


@given(_JSON, st.integers(0, 60), st.sampled_from(["", "    "]))
def test_data_is_the_value_again_however_it_is_laid_out(value: Any, before: int, indent: str) -> None:
    assert repr(ast.literal_eval(written(data(value), indent, before))) == repr(value)


def test_what_fits_stays_on_one_line_and_what_does_not_is_one_part_a_line() -> None:
    short = Call(function="f", arguments=(Name("x"), Constant('a"b')), named=(("k", data([1, (2,)])),))
    assert written(short) == 'f(x, "a\\"b", k=[1, (2,)])'
    wide = Items(tuple(Constant("x" * 30) for _ in range(4)))
    assert written(wide, "    ").splitlines() == ["[", *[f'        "{"x" * 30}",' for _ in range(4)], "    ]"]


def test_the_width_counts_what_stands_before() -> None:
    items = Items(tuple(Constant("x" * 10) for _ in range(7)))
    flat = len(written(items))
    assert "\n" not in written(items, before=WIDTH - flat - 1)
    assert "\n" in written(items, before=WIDTH - flat)


def test_a_text_of_several_lines_is_told_line_by_line() -> None:
    assert written(Call(function="text", arguments=(Constant("a\nb\n"), Name("x")))).splitlines() == [
        "text(",
        "    (",
        '        "a\\n"',
        '        "b\\n"',
        "    ),",
        "    x,",
        ")",
    ]
