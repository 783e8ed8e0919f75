"""Code that calls a deployment, ready to be pasted: for each dialect in curl, Python and JavaScript.

What a dialect's call is made of stands in `calls`, how a language makes such a call in a module of that language: a
dialect is a function there, a language a module here.
"""

from services.gateway.snippets import curl, javascript, python
from services.gateway.snippets.calls import CALLS, Sample

Snippets = dict[str, dict[str, str]]
"""Code by dialect and language."""

_LANGUAGES = {"curl": curl.write, "python": python.write, "javascript": javascript.write}


def snippets_of(sample: Sample) -> Snippets:
    """The code for every dialect."""
    return {
        dialect: {language: write(call(sample)) for language, write in _LANGUAGES.items()}
        for dialect, call in CALLS.items()
    }
