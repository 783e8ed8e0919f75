"""Flow documents for the tests of the command line, written to files."""

import json
from pathlib import Path

GREETER = {
    "name": "Greeter",
    "slug": "greeter",
    "nodes": [
        {
            "id": "in",
            "type": "api_input",
            "config": {
                "fields": [{"name": "name", "type": "string", "required": True, "max_length": 20, "test_value": "Ada"}]
            },
        },
        {"id": "hi", "type": "template", "config": {"text": "Hello, {{ in.name }}!"}},
        {"id": "out", "type": "api_output", "config": {"value": "{{ hi.text }}"}},
    ],
    "edges": [{"source": "in", "target": "hi"}, {"source": "hi", "target": "out"}],
}


def write_greeter(directory: Path, *, slug: str = "greeter", text: str = "Hello, {{ in.name }}!") -> Path:
    """A file with the greeter under another slug, or with other words."""
    document = json.loads(json.dumps(GREETER))
    document["slug"] = slug
    document["nodes"][1]["config"]["text"] = text
    file = directory / f"{slug}.json"
    file.write_text(json.dumps(document))
    return file
