"""Makes one file of code that uses `libs.flows.export.runtime`: copies in what it needs, and only that.

A definition that is needed brings those that it names, across modules; the copy keeps the modules' order and each
module's own. Imports of other libraries are gathered at the head, and those outside the standard library are what
the file must name (PEP 723).
"""

import ast
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.resources import files
from typing import TypeAlias

import msgspec

RUNTIME = "libs.flows.export.runtime"
_OURS = "libs."

REQUIREMENTS = {
    "genai_prices": "genai-prices>=0.2,<1",
    "html_to_markdown": "html-to-markdown>=3,<4",
    "jmespath": "jmespath>=1.0.1,<2",
    "jsonschema_rs": "jsonschema-rs>=0.60,<1",
    "selectolax": "selectolax>=1,<2",
}
"""How a file asks for the libraries that it imports: by the versions whose behaviour is ours."""

Place: TypeAlias = tuple[str, str]
"""A module and a name in it."""


class Import(msgspec.Struct, frozen=True, kw_only=True):
    """`import module`, or `from module import name`; nothing is renamed."""

    module: str
    name: str | None


class Definition(msgspec.Struct, frozen=True, kw_only=True):
    """One statement at the top of a module: its text, and every name that stands in it."""

    text: str
    names: frozenset[str]


class Module(msgspec.Struct, frozen=True, kw_only=True):
    """A module taken apart: what it imports and what it defines, by name, in its order."""

    about: str
    imports: dict[str, Import]
    definitions: dict[str, Definition]


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """The lines that belong before the code, what belongs behind it, and the libraries to install for both."""

    imports: list[str]
    definitions: list[str]
    requirements: list[str]


def bundle(code: str) -> Bundle:
    """What `code`, which imports nothing, needs of the runtime and of libraries."""
    tree = ast.parse(code)
    needed: set[Place] = set()
    imports: set[Import] = set()
    _follow(RUNTIME, _names(tree) - {name for node in tree.body for name in _bound(node)}, needed, imports)
    libraries = {found.module.partition(".")[0] for found in imports} - sys.stdlib_module_names
    return Bundle(
        imports=_import_lines(imports),
        definitions=_definition_texts(needed),
        requirements=sorted(REQUIREMENTS[library] for library in libraries),
    )


def _follow(module: str, names: Iterable[str], needed: set[Place], imports: set[Import]) -> None:
    """Collects the definitions and imports that `names`, as `module` understands them, lead to."""
    source = read_module(module)
    for name in names:
        if (module, name) in needed:
            continue
        if definition := source.definitions.get(name):
            needed.add((module, name))
            _follow(module, definition.names, needed, imports)
        elif found := source.imports.get(name):
            if found.name is not None and found.module.startswith(_OURS):
                _follow(found.module, [found.name], needed, imports)
            else:
                imports.add(found)


def _definition_texts(needed: set[Place]) -> list[str]:
    """The needed definitions, sources before what uses them, each module's behind a line that says what it is."""
    texts: list[str] = []
    homes: dict[str, str] = {}
    for module in dict.fromkeys(_with_sources(RUNTIME)):
        source = read_module(module)
        own = [name for name in source.definitions if (module, name) in needed]
        for name in own:
            if homes.setdefault(name, module) != module:
                raise RuntimeError(f"{name} is defined in {homes[name]} and in {module}")
        found = list(dict.fromkeys(source.definitions[name].text for name in own))
        if found:
            texts += [f"# {source.about}\n{found[0]}", *found[1:]]
    return texts


@cache
def _with_sources(module: str) -> tuple[str, ...]:
    """The module behind everything of ours that it imports."""
    sources = [found.module for found in read_module(module).imports.values() if found.module.startswith(_OURS)]
    return (*(each for source in dict.fromkeys(sources) for each in _with_sources(source)), module)


def _import_lines(imports: set[Import]) -> list[str]:
    """Sorted as linters have them: the standard library, a blank line, the rest; whole modules first."""
    groups: list[list[str]] = [[], []]
    for module in sorted({found.module for found in imports}):
        names = sorted(found.name for found in imports if found.module == module and found.name is not None)
        group = groups[module.partition(".")[0] not in sys.stdlib_module_names]
        if any(found.module == module and found.name is None for found in imports):
            group.append(f"import {module}")
        if names:
            group.append(f"from {module} import {', '.join(names)}")
    for group in groups:
        group.sort(key=lambda line: line.startswith("from "))
    return [*groups[0], *([""] if all(groups) else []), *groups[1]]


@cache
def read_module(name: str) -> Module:
    """One of our modules, read as text: importing it could load libraries that nobody asked for."""
    parts = name.split(".")[1:]
    package = files("libs").joinpath(*parts, "__init__.py")
    path = package if package.is_file() else files("libs").joinpath(*parts[:-1], f"{parts[-1]}.py")
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    definitions: dict[str, Definition] = {}
    for node in tree.body:
        for bound in _bound(node):
            definitions[bound] = Definition(text=_text(source, node), names=frozenset(_names(node)))
    return Module(
        about=(ast.get_docstring(tree) or name).partition("\n")[0],
        imports={bound: found for node in tree.body for bound, found in _imports(node)},
        definitions=definitions,
    )


def _imports(node: ast.stmt) -> Iterator[tuple[str, Import]]:
    match node:
        case ast.Import(names=names):
            yield from ((each.name.partition(".")[0], Import(module=each.name, name=None)) for each in names)
        case ast.ImportFrom(module=str() as module, names=names):
            yield from ((each.name, Import(module=module, name=each.name)) for each in names)


def _bound(node: ast.stmt) -> list[str]:
    """The names that a statement defines."""
    match node:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.Assign(targets=targets):
            return [each.id for target in targets for each in ast.walk(target) if isinstance(each, ast.Name)]
        case ast.AnnAssign(target=ast.Name(id=name)):
            return [name]
    return []


def _names(node: ast.AST) -> set[str]:
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}


def _text(source: str, node: ast.stmt) -> str:
    """The statement's lines, its decorators included."""
    first = min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", []))])
    return "\n".join(source.splitlines()[first - 1 : node.end_lineno])
