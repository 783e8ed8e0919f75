"""What a `file` field may say of its files, and what that means once they are known."""

import pytest

from libs.flows import InvalidFlow, input_schema, load, sample_input
from libs.flows.nodes.fields import Field, file_fault
from libs.runtime.media_types import matches
from libs.storage.naming import content_type_of, file_name
from tests.storage.flows import describes


def test_the_enum_of_a_file_lists_content_types_and_does_not_judge_references() -> None:
    flow = load(describes("typed", enum=["text/plain", "image/*"]))
    assert "enum" not in input_schema(flow)["properties"]["doc"]
    assert sample_input(flow) == {"doc": {"url": "https://example.com/file.txt"}}
    with pytest.raises(InvalidFlow) as invalid:
        load(describes("typed", enum=["text/plain", "text", 5]))
    pointers = [fault.pointer for fault in invalid.value.faults]
    assert pointers == ["/nodes/0/config/fields/0/enum/1", "/nodes/0/config/fields/0/enum/2"]


def test_a_file_is_judged_by_its_size_and_type() -> None:
    field = Field(name="doc", type="file", min_length=2, max_length=4, enum=["text/*"])
    assert file_fault(field, 3, "text/csv; charset=utf-8") is None
    assert "smaller than 2" in str(file_fault(field, 1, "text/csv"))
    assert "larger than 4" in str(file_fault(field, 5, "text/csv"))
    assert "image/png" in str(file_fault(field, 3, "image/png"))


@pytest.mark.parametrize(
    ("content_type", "patterns", "expected"),
    [
        ("Text/Plain; charset=x", ["text/plain"], True),
        ("text/plain", ["text/*", "image/png"], True),
        ("texts/plain", ["text/*"], False),
        ("text/plain", ["*/*"], True),
        ("text/plain", [], True),
        ("", ["text/*"], False),
    ],
)
def test_types_match_by_name_or_family(content_type: str, patterns: list[str], expected: bool) -> None:
    assert matches(content_type, patterns) is expected


@pytest.mark.parametrize(
    ("given", "name"),
    [("a/b\\c.txt", "c.txt"), ("\r\nSet-Cookie: x", "Set-Cookie: x"), ("..", ".."), ("", "file"), ("/", "file")],
)
def test_a_file_is_named_by_what_can_be_printed_of_its_last_part(given: str, name: str) -> None:
    assert file_name(given) == name
    assert len(file_name("x" * 1_000)) == 255


@pytest.mark.parametrize(
    ("given", "name", "content_type"),
    [
        ("text/HTML; charset=UTF-8; x=y", "a", "text/html; charset=utf-8"),
        ("", "a.csv", "text/csv"),
        ("application/octet-stream", "a.json", "application/json"),
        ("image/*", "a", "application/octet-stream"),
        ("nonsense\r\nX: y", "a.unknown", "application/octet-stream"),
    ],
)
def test_a_content_type_is_one_that_may_stand_in_a_header(given: str, name: str, content_type: str) -> None:
    assert content_type_of(given, name) == content_type
