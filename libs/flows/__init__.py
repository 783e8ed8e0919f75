"""The flow document: validated, compiled, scheduled. Pure: no I/O, no clock, no randomness, nothing asynchronous.

flow = load(document)                    # or InvalidFlow, with every fault
compiled = compile_flow(flow)            # once per version
given = compiled.read_input(body)        # or InvalidInput, with every fault
frontier = Frontier(compiled)
steps = frontier.ready()                 # nodes to start; then frontier.settle(node_id, finished(node, output))
output = outcome(compiled, settled)
"""

from libs.flows.catalogue import node_types
from libs.flows.compile import CompiledFlow, compile_flow
from libs.flows.document import Edge, Flow, Settings, slug_of
from libs.flows.effects import (
    Compute,
    Effect,
    HttpAnswer,
    HttpCall,
    Message,
    ModelAnswer,
    ModelCall,
    Passage,
    SearchCall,
)
from libs.flows.faults import Fault, Invalid, InvalidFlow, InvalidInput, InvalidTweaks
from libs.flows.inputs import input_schema, sample_input
from libs.flows.nodes import NODE_TYPES, AnyNode
from libs.flows.nodes.fields import Field
from libs.flows.nodes.node import Retry
from libs.flows.schedule import SKIPPED, Frontier, Settled, Steps, failed, finished, next_steps, outcome
from libs.flows.scope import Scope
from libs.flows.tweaks import apply_tweaks
from libs.flows.validation import deployable, load

__all__ = [
    "NODE_TYPES",
    "SKIPPED",
    "AnyNode",
    "CompiledFlow",
    "Compute",
    "Edge",
    "Effect",
    "Fault",
    "Field",
    "Flow",
    "Frontier",
    "HttpAnswer",
    "HttpCall",
    "Invalid",
    "InvalidFlow",
    "InvalidInput",
    "InvalidTweaks",
    "Message",
    "ModelAnswer",
    "ModelCall",
    "Passage",
    "Retry",
    "Scope",
    "SearchCall",
    "Settings",
    "Settled",
    "Steps",
    "apply_tweaks",
    "compile_flow",
    "deployable",
    "failed",
    "finished",
    "input_schema",
    "load",
    "next_steps",
    "node_types",
    "outcome",
    "sample_input",
    "slug_of",
]
