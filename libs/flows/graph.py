"""The graph of a flow: order, cycles, who comes before whom. No recursion, so no graph exhausts the stack."""

import heapq
from collections.abc import Iterable, Mapping, Sequence

_SHOWN_OF_CYCLE = 12


def topological_order(ids: Sequence[str], links: Iterable[tuple[str, str]]) -> list[str]:
    """The ids, sources before targets, earlier in `ids` first where the links leave it open.

    Ids on a cycle, and those behind one, are missing from the result. `links` are (source, target), both in `ids`.
    """
    rank = {node_id: at for at, node_id in enumerate(ids)}
    targets: dict[str, list[str]] = {node_id: [] for node_id in ids}
    waiting = dict.fromkeys(ids, 0)
    for source, target in links:
        targets[source].append(target)
        waiting[target] += 1
    ready = [rank[node_id] for node_id in ids if not waiting[node_id]]
    order = []
    while ready:
        node_id = ids[heapq.heappop(ready)]
        order.append(node_id)
        for target in targets[node_id]:
            waiting[target] -= 1
            if not waiting[target]:
                heapq.heappush(ready, rank[target])
    return order


def order_of_arrival(ids: Sequence[str], links: Iterable[tuple[str, str]]) -> list[str]:
    """The order in which nodes end when each ends as soon as it begins, and those that it made ready queue up.

    `ids` are in topological order, `links` in the order in which a node's ways out are looked at.
    """
    targets: dict[str, list[str]] = {node_id: [] for node_id in ids}
    waiting = dict.fromkeys(ids, 0)
    for source, target in links:
        targets[source].append(target)
        waiting[target] += 1
    order = [node_id for node_id in ids if not waiting[node_id]]
    for node_id in order:
        for target in targets[node_id]:
            waiting[target] -= 1
            if not waiting[target]:
                order.append(target)
    return order


def cycles(ids: Sequence[str], links: Sequence[tuple[str, str]], limit: int) -> list[list[str]]:
    """Up to `limit` cycles that share no node, each as the ids along it, so that cutting them all leaves none such.

    Every cycle of the graph shares a node with one of these, unless the limit was reached.
    """
    found: list[list[str]] = []
    ids, links = list(ids), list(links)
    while len(found) < limit:
        ordered = set(topological_order(ids, links))
        ids = [node_id for node_id in ids if node_id not in ordered]
        if not ids:
            break
        left = set(ids)
        links = [(source, target) for source, target in links if source in left and target in left]
        cycle = _from_the_first(_cycle_behind(ids[0], links), ids)
        found.append(cycle)
        on_cycle = set(cycle)
        ids = [node_id for node_id in ids if node_id not in on_cycle]
        links = [link for link in links if not on_cycle.intersection(link)]
    return found


def _cycle_behind(start: str, links: Sequence[tuple[str, str]]) -> list[str]:
    """Walks against the links until a node repeats; each node has a link into it, so one must."""
    source_of = {target: source for source, target in reversed(links)}
    at: dict[str, int] = {}
    path: list[str] = []
    node_id = start
    while node_id not in at:
        at[node_id] = len(path)
        path.append(node_id)
        node_id = source_of[node_id]
    return path[at[node_id] :][::-1]


def _from_the_first(cycle: list[str], ids: Sequence[str]) -> list[str]:
    """The same cycle, told from its node that comes first in the document."""
    members = set(cycle)
    at = cycle.index(next(node_id for node_id in ids if node_id in members))
    return cycle[at:] + cycle[:at]


def cycle_text(cycle: Sequence[str]) -> str:
    """`a → b → a`; a long one is cut in the middle of nowhere, its length told."""
    if len(cycle) <= _SHOWN_OF_CYCLE:
        return " → ".join([*cycle, cycle[0]])
    return f"{' → '.join(cycle[:_SHOWN_OF_CYCLE])} → … → {cycle[0]} ({len(cycle)} nodes)"


def ancestors(order: Sequence[str], links: Iterable[tuple[str, str]]) -> dict[str, frozenset[str]]:
    """Every node that comes before each node, over any number of links; `order` is topological and complete."""
    bit = {node_id: 1 << at for at, node_id in enumerate(order)}
    sources: dict[str, list[str]] = {node_id: [] for node_id in order}
    for source, target in links:
        sources[target].append(source)
    before: dict[str, int] = {}
    for node_id in order:
        mask = 0
        for source in sources[node_id]:
            mask |= before[source] | bit[source]
        before[node_id] = mask
    return {node_id: _members(order, mask) for node_id, mask in before.items()}


def _members(order: Sequence[str], mask: int) -> frozenset[str]:
    members = []
    while mask:
        lowest = mask & -mask
        members.append(order[lowest.bit_length() - 1])
        mask ^= lowest
    return frozenset(members)


def descendants(start: str, targets: Mapping[str, Iterable[str]]) -> frozenset[str]:
    """Every node that can be reached from `start`, which is not among them."""
    reached: set[str] = set()
    open_ids = [start]
    while open_ids:
        for target in targets[open_ids.pop()]:
            if target not in reached:
                reached.add(target)
                open_ids.append(target)
    return frozenset(reached)
