"""Exported files, run as a person would: in a fresh interpreter that has the libraries a file names, and no others."""

import ast
import asyncio
import json
import os
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import Distribution, distribution
from pathlib import Path
from types import ModuleType
from typing import Any

from libs.flows import load
from libs.flows.export import export_python
from tests.export.engine import Ran

_SECONDS = 30.0
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_BLOCK = re.compile(r"(?m)^# /// script$\s(?P<content>(^#(| .*)$\s)+)^# ///$")
_START = """
import runpy, sys
del sys.argv[0]
sys.path.insert(0, sys.argv.pop(0))
runpy.run_path(sys.argv[0], None, "__main__")
"""


async def by_file(
    directory: Path,
    document: dict[str, Any],
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
) -> Ran:
    """`python flow.py …`, without the packages of this environment but for those that the file names."""
    source = export_python(load(document))
    path = directory / "flow.py"
    path.write_text(source, encoding="utf-8")
    site = _site(directory, requirements_of(source))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", "-W", "error", "-c", _START, str(site), str(path), *arguments),
        stdin=asyncio.subprocess.DEVNULL if stdin is None else asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"], **(environment or {})},
    )
    try:
        async with asyncio.timeout(_SECONDS):
            out, said = await process.communicate(stdin)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Ran(status=process.returncode or 0, output=json.loads(out) if out else None, said=said.decode())


def in_this_process(document: dict[str, Any]) -> ModuleType:
    """The exported file as a module: quicker, for the many flows of property tests."""
    module = ModuleType("exported_flow")
    sys.modules["exported_flow"] = module
    exec(compile(export_python(load(document)), "flow.py", "exec"), module.__dict__)
    return module


def metadata_of(source: str) -> dict[str, Any]:
    """The one script block, read by the reference expression of the packaging specification."""
    (block,) = _BLOCK.finditer(source)
    return tomllib.loads(
        "".join(line.removeprefix("#").removeprefix(" ") for line in block["content"].splitlines(True))
    )


def requirements_of(source: str) -> list[str]:
    """The names of the libraries that a file asks for."""
    return [match[0] for each in metadata_of(source)["dependencies"] if (match := _NAME.match(each))]


def libraries_imported(source: str) -> set[str]:
    """The top-level packages outside the standard library that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {each.name.partition(".")[0] for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").partition(".")[0])
    return found - sys.stdlib_module_names


@cache
def packages_of(requirement: str) -> frozenset[Path]:
    """What an installed distribution and all that it requires put into site-packages."""
    seen: set[str] = set()
    return frozenset(_packages(requirement, seen))


def _packages(name: str, seen: set[str]) -> Iterator[Path]:
    if name.lower() in seen:
        return
    seen.add(name.lower())
    found: Distribution = distribution(name)
    for part in {file.parts[0] for file in found.files or [] if file.parts[0] not in ("..", "__pycache__")}:
        yield Path(str(found.locate_file(part)))
    for required in found.requires or []:
        if "extra ==" not in required and (match := _NAME.match(required)) and _is_installed(match[0]):
            yield from _packages(match[0], seen)


def _is_installed(name: str) -> bool:
    try:
        distribution(name)
    except ModuleNotFoundError:
        return False
    return True


def _site(directory: Path, requirements: list[str]) -> Path:
    """A directory of links to the named libraries, to stand in for an environment of their own."""
    site = directory / "site"
    site.mkdir(exist_ok=True)
    for requirement in requirements:
        for package in packages_of(requirement):
            link = site / package.name
            if not link.exists():
                link.symlink_to(package)
    return site
