"""The web scraper: what a page says, and what a hostile one can't do."""

import time
from typing import Any

import pytest

from libs.flows import Compute, HttpAnswer
from libs.flows.pages import parse_page
from libs.runtime.failures import Retryable, Terminal
from tests.flows.documents import scope, single

PAGE = """<!doctype html><html><head><title> A
 page </title><style>p{}</style></head><body>
<script>var a = "<p>no</p>";</script><noscript>no</noscript><template><p>no</p></template>
<h1>Head<b>ing</b></h1><p>One   two<br>three <a href="/a?x=1#frag">link</a></p><p hidden>no</p>
<ul><li>first</li><li>second <a href="sub/b">b</a></li></ul>
<table><tr><td>1</td><td>2</td></tr></table>
<div class="box"><div class="box">inner <a href="mailto:x@y.z">mail</a> <a href="/a?x=1">again</a></div></div>
<a href="javascript:alert(1)">js</a></body></html>"""


def read(html: str | bytes, selector: str | None = None, form: Any = "text", content_type: str = "text/html") -> Any:
    body = html.encode() if isinstance(html, str) else html
    return parse_page(body, content_type, "http://h.test/dir/page", selector, form)


def test_the_visible_text_comes_block_by_block() -> None:
    page = read(PAGE)
    assert page["title"] == "A page"
    assert page["text"].split("\n") == [
        "Heading", "One two", "three link", "first", "second b", "1 2", "inner mail again", "js",
    ]  # fmt: skip
    assert page["url"] == "http://h.test/dir/page"


def test_links_are_absolute_unique_and_in_order() -> None:
    assert read(PAGE)["links"] == ["http://h.test/a?x=1", "http://h.test/dir/sub/b"]
    assert read(PAGE, form="links")["text"] == "http://h.test/a?x=1\nhttp://h.test/dir/sub/b"


def test_a_base_element_moves_relative_links() -> None:
    assert read('<base href="https://o.test/x/"><a href="y">y</a>')["links"] == ["https://o.test/x/y"]


def test_markdown_keeps_the_form() -> None:
    text = read(PAGE, form="markdown")["text"]
    assert "# Head**ing**" in text
    assert "[link](http://h.test/a?x=1#frag)" in text
    assert "- first" in text
    assert "no" not in text.replace("now", "")


def test_markdown_leaves_out_embedded_bytes() -> None:
    text = read('<p>a</p><img alt="x" src="data:image/png;base64,AAAA"><img alt="y" src="y.png">', form="markdown")[
        "text"
    ]
    assert "base64" not in text
    assert "![y](http://h.test/dir/y.png)" in text


def test_a_selector_keeps_what_matches_once() -> None:
    page = read(PAGE, selector=".box")
    assert page["text"] == "inner mail again"
    assert page["links"] == ["http://h.test/a?x=1"]
    assert read(PAGE, selector="li")["text"] == "first\nsecond b"
    assert read(PAGE, selector=".none")["text"] == ""


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ("<p>Привет</p>".encode("windows-1251"), "text/html; charset=windows-1251"),
        ('<meta charset="windows-1251"><p>Привет</p>'.encode("windows-1251"), "text/html"),
        ("<p>Привет</p>".encode("utf-16"), "text/html; charset=utf-8"),
        ("<p>Привет</p>".encode(), ""),
        ("<p>Привет</p>".encode(), "text/html; charset=rot13"),
    ],
)
def test_the_character_set_is_found(body: bytes, content_type: str) -> None:
    assert read(body, content_type=content_type)["text"] == "Привет"


def test_a_page_of_endless_tags_is_refused() -> None:
    with pytest.raises(Terminal, match="tags"):
        read("<div>" * 60_000)


def test_deep_nesting_is_read_without_recursion() -> None:
    deep = "<div>" * 9_000 + "deep <a href='x'>l</a>"
    for form in ("text", "markdown", "links"):
        assert read(deep, form=form)["links"] == ["http://h.test/dir/x"]
    assert read(deep)["text"] == "deep l"


def test_a_selector_that_matches_nested_elements_takes_linear_time() -> None:
    begin = time.perf_counter()
    assert read("<div>" * 9_000 + "x", selector="div")["text"] == "x"
    assert time.perf_counter() - begin < 2


@pytest.mark.parametrize("html", ["", "\0\0", "<", "<!--", "plain", "<html><frameset></frameset></html>"])
def test_whatever_the_bytes_there_is_an_output(html: str) -> None:
    for form in ("text", "markdown", "links"):
        assert set(read(html, form=form)) == {"title", "text", "links", "url"}


def scraped(reply: HttpAnswer) -> Any:
    steps = single("web_scraper", {"url": "http://h.test/p", "format": "markdown", "selector": "p"}).steps(scope())
    call = next(steps)
    assert call.method == "GET"
    assert call.headers["Idempotency-Key"] == "run_1:x"
    compute = steps.send(reply)
    assert isinstance(compute, Compute)
    with pytest.raises(StopIteration) as end:
        steps.send(compute.function(*compute.args))
    return end.value.value


def reply(status: int = 200, content_type: str = "text/html") -> HttpAnswer:
    return HttpAnswer(
        status=status, headers={"Content-Type": content_type}, body=b"<p>a <b>b</b></p>", url="http://h.test/q"
    )


def test_the_scraper_fetches_and_has_the_page_computed() -> None:
    assert scraped(reply()) == {"title": "", "text": "a **b**", "links": [], "url": "http://h.test/q"}


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        (reply(404), Terminal),
        (reply(304), Terminal),
        (reply(429), Retryable),
        (reply(503), Retryable),
        (reply(200, "application/pdf"), Terminal),
    ],
)
def test_what_is_no_page_fails(answer: HttpAnswer, failure: type[Exception]) -> None:
    with pytest.raises(failure):
        scraped(answer)
