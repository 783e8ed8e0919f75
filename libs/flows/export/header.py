"""The head of an exported file: what it needs (PEP 723) and, as its docstring and `--help`, what it is."""

import shlex
import textwrap
from collections.abc import Mapping, Sequence

import msgspec

from libs.flows.compile import CompiledFlow
from libs.flows.export.code import WIDTH
from libs.flows.export.nodes import provider_of
from libs.flows.inputs import sample_input
from libs.flows.nodes.api_input import ApiInput
from libs.flows.nodes.api_output import ApiOutput
from libs.flows.nodes.fields import Field
from libs.flows.nodes.prompt import Prompt

_LINE, _PARAGRAPH = "\n", "\n\n"
_USE = """\
{command}

prints the flow's output as JSON; `-` instead of the input reads it from standard input. The exit status is 0, or 1
for a run that failed, or 2 for an input that does not fit; standard error then says why."""
_LIBRARIES = "It needs libraries, which `uv run` and `pipx run` install; by hand:"


def script_block(requirements: Sequence[str]) -> str:
    """The inline metadata that script runners read: see "Inline script metadata" in the Python packaging guide."""
    named = ["[", *(f'    "{requirement}",' for requirement in requirements), "]"] if requirements else ["[]"]
    lines = ["/// script", 'requires-python = ">=3.11"', *f"dependencies = {_LINE.join(named)}".split(_LINE), "///"]
    return "\n".join(f"# {line}" for line in lines)


def docstring(flow: CompiledFlow, requirements: Sequence[str], secrets: Mapping[str, str]) -> str:
    """The file's docstring, as code: name, description, how to run it, fields, environment, what is left out."""
    document = flow.flow
    fields = {
        field.name: field for node in document.nodes if isinstance(node, ApiInput) for field in node.config.fields
    }
    sample = sample_input(document)
    command = shlex.quote(msgspec.json.encode({name: sample[name] for name in fields}).decode())
    paragraphs = [document.name.strip(), _wrapped(document.description)]
    paragraphs.append(_USE.format(command=f"    python {document.slug or 'flow'}.py {command}"))
    if requirements:
        install = " ".join(map(shlex.quote, requirements))
        paragraphs.append(
            f"It needs libraries, which `uv run` and `pipx run` install; by hand:\n\n    pip install {install}"
        )
    paragraphs.append(_listed("Fields of the input", [_field(field) for field in fields.values()]))
    paragraphs.append(_listed("Environment", _environment(flow, secrets)))
    paragraphs.append(_listed("Of the flow this leaves out", _left_out(flow)))
    return f'"""{_plain(_PARAGRAPH.join(filter(None, paragraphs)))}\n"""'


def comment(text: str) -> str:
    """A text of users as (part of) a comment: one line, nothing that isn't printable."""
    return "".join(each if each.isprintable() else " " for each in " ".join(text.split()))


def _plain(text: str) -> str:
    """A text inside of a docstring: it can't end it, escape from it, hide, or look like a script block."""
    shown = "".join(each if each.isprintable() or each == "\n" else " " for each in text.replace("\r\n", "\n"))
    lines = (line.rstrip() for line in shown.replace("\\", "\\\\").replace('"""', '\\"\\"\\"').split("\n"))
    return "\n".join(f" {line}" if line.startswith("#") else line for line in lines)


def _wrapped(text: str) -> str:
    """The text's own lines, none wider than code."""
    return _LINE.join(textwrap.fill(line, WIDTH) for line in text.strip().splitlines())


def _listed(title: str, lines: Sequence[str]) -> str:
    return "\n".join([f"{title}:", *(f"    {line}" for line in lines)]) if lines else ""


def _field(field: Field) -> str:
    words: list[str] = [field.type]
    if field.default is not msgspec.UNSET:
        words.append(f"by default {msgspec.json.encode(field.default).decode()}")
    elif field.required:
        words.append("required")
    about = f": {comment(field.description)}" if field.description else ""
    return f"{comment(field.name)} ({', '.join(words)}){about}"


def _environment(flow: CompiledFlow, secrets: Mapping[str, str]) -> list[str]:
    prompts = [node for node in flow.nodes.values() if isinstance(node, Prompt)]
    providers = {found.name: found for node in prompts if (found := provider_of(node)) is not None}
    lines = []
    for provider in providers.values():
        usual = f" (by default {provider.default_url})" if provider.default_url else ""
        lines.append(f"{provider.base_url}: address of the model provider {provider.name}, ends in /v1{usual}")
        lines.append(f"{provider.api_key}: its key")
    return lines + [f"{variable}: the secret {comment(name)}" for name, variable in secrets.items()]


def _left_out(flow: CompiledFlow) -> list[str]:
    nodes = flow.nodes.values()
    lines = []
    if flow.uses_session:
        lines.append("sessions: each run stands alone, without earlier turns")
    outputs = [node for node in nodes if isinstance(node, ApiOutput)]
    if any(node.config.callback_url or node.config.email for node in outputs):
        lines.append("deliveries: nobody is called back or sent an email")
    if any(node.effects for node in nodes):
        lines.append("the guard against private addresses: every address that this machine reaches is called")
    return lines
