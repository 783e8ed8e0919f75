"""What a file is called and what it claims to be, made fit to be stored and to stand in a header."""

import mimetypes
import re

from libs.runtime.media_types import is_pattern

UNTYPED = "application/octet-stream"

_MAX_NAME_CHARACTERS = 255
_CHARSET = re.compile(r"""charset\s*=\s*["']?([A-Za-z0-9_.:-]{1,40})""", re.IGNORECASE)


def file_name(given: str) -> str:
    """The last part of a path, without what cannot be printed; `file` where nothing is left."""
    last = given.replace("\\", "/").rpartition("/")[2]
    return "".join(c for c in last if c.isprintable()).strip()[:_MAX_NAME_CHARACTERS] or "file"


def content_type_of(given: str, name: str) -> str:
    """A Content-Type with no parameter but the charset; one that says nothing is guessed from the file's name."""
    media, _, parameters = given.partition(";")
    media = media.strip().lower()
    if "*" in media or not is_pattern(media) or media == UNTYPED:
        media = mimetypes.guess_type(name)[0] or UNTYPED
    charset = _CHARSET.search(parameters)
    return f"{media}; charset={charset[1].lower()}" if charset else media
