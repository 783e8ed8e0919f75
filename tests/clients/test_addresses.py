"""What people paste as the server's address."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ADDRESSES = {
    "https://headgate.example": "https://headgate.example",
    "https://headgate.example/": "https://headgate.example",
    "your-workspace-url": "https://your-workspace-url",
    "headgate.example:8443/": "https://headgate.example:8443",
    "headgate.example/some/path//": "https://headgate.example/some/path",
    "http://headgate.example": "http://headgate.example",
    "localhost:8080": "http://localhost:8080",
    "127.0.0.1:8080/": "http://127.0.0.1:8080",
    "[::1]:8080": "http://[::1]:8080",
    "localhost.example": "https://localhost.example",
    " https://Headgate.Example:443 ": "https://headgate.example",
    "bücher.example": "https://xn--bcher-kva.example",
}
NONE = ["", "/", "ftp://headgate.example", "https://", "https://me:secret@headgate.example", "https://a.example/?key=1"]
_READER = """
import { readAddress } from %s;
const read = (text) => { try { return readAddress(text); } catch (error) { return error.constructor.name; } };
console.log(JSON.stringify(JSON.parse(process.argv[1]).map(read)));
"""


def in_python(text: str) -> str:
    from headgate_client.address import read_address

    address = read_address(text)
    return f"{'https' if address.tls else 'http'}://{address.authority}{address.prefix}"


def in_node(texts: list[str]) -> list[str]:
    module = Path(__file__).resolve().parents[2] / "clients/js/src/address.js"
    script = _READER % json.dumps(module.as_uri())
    command = ["node", "--input-type=module", "--eval", script, json.dumps(texts)]
    found: list[str] = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)
    return found


@pytest.mark.parametrize(("text", "url"), ADDRESSES.items())
def test_an_address_is_read_with_or_without_scheme_and_slash(text: str, url: str) -> None:
    assert in_python(text) == url


def test_javascript_reads_the_same() -> None:
    assert in_node(list(ADDRESSES)) == list(ADDRESSES.values())
    assert in_node(NONE) == ["TypeError"] * len(NONE)


@pytest.mark.parametrize("text", NONE)
def test_what_is_no_address_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(ValueError, match="base_url") as refused:
        in_python(text)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("key", ["", "  ", "sk-secret\r\nX-Other: 1", "sk-sécret"])
def test_a_key_that_is_none_is_refused_without_repeating_it(key: str) -> None:
    from headgate_client import Client

    with pytest.raises(ValueError, match="api_key is not a key") as refused:
        Client("https://headgate.example", key)
    assert "cret" not in str(refused.value)


def test_importing_the_client_needs_nothing_but_python(tmp_path: Path) -> None:
    package = Path(__file__).resolve().parents[2] / "clients/python"
    script = f"import sys; sys.path.insert(0, {str(package)!r}); import headgate_client"
    subprocess.run([sys.executable, "-I", "-S", "-c", script], check=True, timeout=30, cwd=tmp_path)
