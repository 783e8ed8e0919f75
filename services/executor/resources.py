"""What one run reads that the log does not hold: the values of secrets, and what its files contain.

The log keeps a file's reference and `[secret]` instead. A run that is taken up again, by another process or as
a replay, gets both back from here before it goes on.
"""

from typing import Any

import msgspec

from libs.events.subjects import RunKey
from libs.flows import AnyNode
from services.executor.files import Files, input_files, references
from services.executor.masking import MASKED


class Resources:
    """The resources of one run. `facts` is what `{{ run.… }}` reads; its `input` has files in it once they are read."""

    def __init__(self, run: RunKey, facts: dict[str, Any], secrets: dict[str, str], files: Files) -> None:
        self.run = run
        self.facts = facts
        self.secrets = secrets
        self._files = files

    def reads_files(self, node: AnyNode) -> bool:
        """Whether a node has its output only after files were read."""
        return bool(input_files(node, self.facts["input"]))

    def stored(self, node: AnyNode, output: Any) -> Any:
        """A node's output as the log takes it."""
        fields = input_files(node, self.facts["input"])
        return references(output, fields) if fields else output

    def lacks(self, node: AnyNode, logged: Any) -> bool:
        """Whether the output that the log has of a node is less than the node gave, and can be had again.

        What the outside answered cannot; and a port is a port, whatever it is called.
        """
        if self.reads_files(node):
            return True
        if not self.secrets or node.effects or node.ports:
            return False
        return MASKED.encode() in msgspec.json.encode(logged)

    async def read_files(self, node: AnyNode, logged: Any = None) -> None:
        """Read what files a node takes in, by the references in its logged output where it has any.

        Raises Away, and Failures that name the field.
        """
        given = self.facts["input"]
        read = {}
        for name, field in input_files(node, given).items():
            known = logged.get(name) if isinstance(logged, dict) else None
            reference = known if isinstance(known, dict) and "file_id" in known else given[name]
            read[name] = await self._files.read(self.run, field, reference)
        self.facts["input"] = {**given, **read}
