"""Files through the API: up, down, away, and into runs."""

import base64
import os
from typing import Any

import aiohttp
import pytest

from tests.e2e.caller import Caller
from tests.e2e.target import Prepared, Target
from tests.storage.conftest import MAX_FILE_BYTES
from tests.storage.flows import chain, describes, file_input, node


async def upload(caller: Caller, body: bytes, name: str = "note.txt", **part: Any) -> tuple[int, Any]:
    form = aiohttp.FormData(quote_fields=False)
    form.add_field("note", "read over")
    form.add_field("file", body, filename=name, **part)
    return await _post(caller, form)


async def _post(caller: Caller, data: Any, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    async with (
        aiohttp.ClientSession(headers=caller.stack.headers) as session,
        session.post(f"{caller.stack.url}/v1/files", data=data, headers=headers) as answer,
    ):
        return answer.status, await answer.json()


async def stored(caller: Caller, body: bytes, name: str = "note.txt", **part: Any) -> str:
    status, answer = await upload(caller, body, name, **part)
    assert status == 201, answer
    file_id: str = answer["id"]
    return file_id


async def outcome(caller: Caller, deployment: str, doc: Any) -> dict[str, Any]:
    answer = await caller.call("POST", f"/v1/deployments/{deployment}/runs", {"input": {"doc": doc}, "mode": "sync"})
    assert answer.status == 200, answer.body
    run: dict[str, Any] = answer.body
    return run


async def test_what_was_uploaded_comes_back_byte_for_byte_as_an_attachment(caller: Caller) -> None:
    body = os.urandom(700_001)
    status, answer = await upload(caller, body, "über/bär.bin", content_type="application/x-bear")
    assert status == 201
    file_id = answer.pop("id")
    assert answer == {"name": "bär.bin", "content_type": "application/x-bear", "size": 700_001}
    async with caller.session.get(f"{caller.stack.urls[1]}/v1/files/{file_id}") as got:
        assert await got.read() == body
        assert got.headers["Content-Type"] == "application/x-bear"
        assert got.headers["Content-Disposition"] == "attachment; filename*=UTF-8''b%C3%A4r.bin"
        assert got.headers["X-Content-Type-Options"] == "nosniff"
    assert (await caller.call("DELETE", f"/v1/files/{file_id}")).status == 204
    assert (await caller.call("GET", f"/v1/files/{file_id}")).status == 404
    assert (await caller.call("DELETE", f"/v1/files/{file_id}")).status == 404


async def test_an_empty_file_is_a_file(caller: Caller) -> None:
    file_id = await stored(caller, b"")
    async with caller.session.get(f"{caller.stack.url}/v1/files/{file_id}") as got:
        assert (got.status, await got.read()) == (200, b"")


async def test_a_file_over_the_limit_is_refused_announced_or_not(caller: Caller) -> None:
    assert (await upload(caller, b"x" * (MAX_FILE_BYTES + 1)))[0] == 413
    assert (await upload(caller, b"x" * MAX_FILE_BYTES))[0] == 201

    async def unannounced() -> Any:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
        for _ in range(MAX_FILE_BYTES // 65536 + 1):
            yield b"x" * 65536
        yield b"\r\n--b--\r\n"

    status, answer = await _post(caller, unannounced(), {"Content-Type": "multipart/form-data; boundary=b"})
    assert (status, answer["code"]) == (413, "payload_too_large")


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b"{}"),
        ("multipart/form-data", b"--b\r\n"),
        ("multipart/form-data; boundary=b", b""),
        ("multipart/form-data; boundary=b", b"nonsense"),
        ("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\ncut'),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="other"\r\n\r\nx\r\n--b--\r\n',
        ),
        ("multipart/form-data; boundary=" + "b" * 100, b"--b"),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="\x02"\r\n\r\nx\r\n--b--\r\n',
        ),
        ("multipart/form-data; boundary=b", b"--b\r\nno header at all\r\n\r\nx\r\n--b--\r\n"),
        ("multipart/mixed; boundary=b", b"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c--\r\n--b--\r\n"),
    ],
)
async def test_a_body_without_a_file_is_bad_input(caller: Caller, content_type: str, body: bytes) -> None:
    status, answer = await _post(caller, body, {"Content-Type": content_type})
    assert (status, answer["code"]) == (400, "invalid_input"), answer


async def test_files_are_the_workspaces_own_and_need_the_right(caller: Caller) -> None:
    file_id = await stored(caller, b"mine")
    made = await caller.call("POST", "/v1/workspaces", {"name": "Other", "plan": "pro"})
    foreign = {"Authorization": f"Bearer {made.body['admin_key']}"}
    for method in ("GET", "DELETE"):
        assert (await caller.call(method, f"/v1/files/{file_id}", headers=foreign)).status == 404
    for permission, expected in (("read", (200, 403)), ("execute", (200, 403)), ("write", (403, 204))):
        key = (await caller.call("POST", "/v1/keys", {"name": permission, "permissions": [permission]})).body["key"]
        headers = {"Authorization": f"Bearer {key}"}
        async with caller.session.get(f"{caller.stack.url}/v1/files/{file_id}", headers=headers) as got:
            assert got.status == expected[0], permission
        deleted = await caller.call("DELETE", f"/v1/files/{file_id}", headers=headers)
        assert deleted.status == expected[1], permission


async def test_nodes_read_an_upload_and_the_log_holds_its_reference_alone(caller: Caller) -> None:
    deployment = await caller.deploy(describes("describes-upload"))
    marker = os.urandom(20).hex()
    file_id = await stored(caller, f"Grüße {marker}".encode(), "gruss.txt", content_type="text/plain; charset=utf-8")
    run = await outcome(caller, deployment, {"file_id": file_id})
    assert run["output"] == {
        "name": "gruss.txt",
        "type": "text/plain; charset=utf-8",
        "size": 48,
        "text": f"Grüße {marker}",
        "base64": base64.b64encode(f"Grüße {marker}".encode()).decode(),
    }
    assert (await outcome(caller, deployment, file_id))["output"] == run["output"]
    events = await caller.events(run["id"])
    assert events[0]["data"]["input"] == {"doc": {"file_id": file_id}}
    (taken,) = [e["data"]["output"] for e in events if e["type"] == "node.finished" and e["node"] == "in"]
    assert taken == {
        "doc": {"file_id": file_id, "name": "gruss.txt", "content_type": "text/plain; charset=utf-8", "size": 48}
    }


async def test_bytes_of_a_file_that_no_node_gives_out_are_not_on_the_log(caller: Caller) -> None:
    document = chain("measures", file_input(), node("said", "transform", expression="length(in.doc.text)"))
    deployment = await caller.deploy(document)
    marker = os.urandom(20).hex()
    run = await outcome(caller, deployment, {"file_id": await stored(caller, marker.encode())})
    assert run["output"] == 40
    kept = list((caller.stack.data / "nats").rglob("*.blk"))
    assert any(run["id"].encode() in path.read_bytes() for path in kept)
    assert not any(marker.encode() in path.read_bytes() for path in kept)


async def test_a_file_by_address_is_fetched_by_the_executor(caller: Caller, web: Target) -> None:
    deployment = await caller.deploy(describes("describes-address"))
    body = b"\x89PNG\r\n\x1a\n\x00\xff"
    web.answer("/a%20b/pic.png", [Prepared(body=body)])
    web.answer("/a b/pic.png", [Prepared(body=body, headers={"Content-Type": "image/png"})])
    run = await outcome(caller, deployment, {"url": web.url("/a%20b/pic.png")})
    assert run["output"] == {
        "name": "pic.png",
        "type": "image/png",
        "size": 10,
        "text": None,
        "base64": base64.b64encode(body).decode(),
    }
    events = await caller.events(run["id"])
    (taken,) = [e["data"]["output"]["doc"] for e in events if e["type"] == "node.finished" and e["node"] == "in"]
    async with caller.session.get(f"{caller.stack.url}/v1/files/{taken['file_id']}") as got:
        assert await got.read() == body


async def test_bytes_that_come_along_are_read_too(caller: Caller) -> None:
    deployment = await caller.deploy(describes("describes-inline"))
    run = await outcome(caller, deployment, {"name": "a.csv", "base64": base64.b64encode(b"a,b").decode()})
    assert run["output"] == {"name": "a.csv", "type": "text/csv", "size": 3, "text": "a,b", "base64": "YSxi"}
    run = await outcome(caller, deployment, {"base64": "no base64!"})
    assert run["error"]["code"] == "node_failed"
    assert "'doc'" in run["error"]["message"]


@pytest.mark.parametrize(
    ("path", "answer", "says"),
    [
        ("/large", Prepared(body=b"x" * 9), "8 bytes"),
        ("/gone", Prepared(status=404), "404"),
        ("/kind", Prepared(body=b"x", headers={"Content-Type": "text/html"}), "text/html"),
    ],
)
async def test_a_file_that_does_not_fit_fails_the_run_and_names_the_field(
    caller: Caller, web: Target, path: str, answer: Prepared, says: str
) -> None:
    document = describes(f"limited{path[1:]}", max_length=8, enum=["text/plain", "image/*"])
    deployment = await caller.deploy(document)
    web.answer(path, [answer])
    run = await outcome(caller, deployment, {"url": web.url(path)})
    assert (run["status"], run["error"]["code"], run["error"]["node"]) == ("failed", "node_failed", "in")
    assert "'doc'" in run["error"]["message"]
    assert says in run["error"]["message"]


async def test_an_upload_that_does_not_fit_or_is_not_there_fails_the_run(caller: Caller) -> None:
    deployment = await caller.deploy(describes("limited-upload", max_length=8))
    run = await outcome(caller, deployment, {"file_id": await stored(caller, b"123456789")})
    assert "'doc'" in run["error"]["message"]
    assert "8 bytes" in run["error"]["message"]
    for unknown in ("file_unknown", "a\x00b", "é" * 200):
        run = await outcome(caller, deployment, {"file_id": unknown})
        assert "no such file" in run["error"]["message"]


async def test_a_private_address_is_refused_with_its_own_code(caller: Caller) -> None:
    deployment = await caller.deploy(describes("describes-private"))
    run = await outcome(caller, deployment, {"url": "http://10.0.0.1/x"})
    assert (run["status"], run["error"]["code"]) == ("failed", "egress_refused")
    assert "'doc'" in run["error"]["message"]
