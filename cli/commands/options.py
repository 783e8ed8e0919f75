"""The options that every command shares, and where the server and the key are when they are not given."""

import os
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from cli.api import Api

Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
Url = Annotated[
    str,
    typer.Option(
        "--url", envvar="HEADGATE_URL", help="The gateway.", show_default="http://127.0.0.1:$HEADGATE_PORT, 8080"
    ),
]
Key = Annotated[
    str,
    typer.Option(
        "--key",
        envvar="HEADGATE_API_KEY",
        help="The key; other users of this machine can see one given here, so rather set the variable.",
        show_default="$HEADGATE_DATA/admin.key",
    ),
]


@asynccontextmanager
async def server(url: str, key: str) -> AsyncIterator["Api"]:
    """A client of the server that the options name."""
    from cli.api import connected

    async with connected(server_address(url), key or kept_key()) as api:
        yield api


def server_address(url: str) -> str:
    """The gateway's address without a slash at the end."""
    return url.rstrip("/") or f"http://127.0.0.1:{os.environ.get('HEADGATE_PORT') or 8080}"


def key_file() -> Path:
    """Where `headgate up` keeps the admin key."""
    return Path(os.environ.get("HEADGATE_DATA") or ".headgate").absolute() / "admin.key"


def kept_key() -> str:
    """The admin key of the stack in `$HEADGATE_DATA`; empty when there is none that we may read."""
    try:
        return key_file().read_text().strip()
    except OSError:
        return ""


def run(work: Coroutine[Any, Any, None]) -> None:
    """Do the work of a command."""
    import asyncio

    asyncio.run(work)
