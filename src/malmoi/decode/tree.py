"""The record of a beam search: every continuation it looked at, and what became of each.

`malmoi.decode.beam` grows this tree while it searches; a figure draws it afterwards. Nothing here
chooses anything. A step looks at about twice as many continuations as there are beams, never at the
whole vocabulary, so the record of a search has about `2 * width * max_new_tokens` nodes.
"""

from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, TypeVar

VERSION = 1

Fate = Literal["kept", "pruned", "finished"]
Reason = Literal["length", "full", "hopeless", "dead end"]
Record = TypeVar("Record")


@dataclass
class Node:
    """One token after another node: a continuation that was looked at.

    Attributes:
        parent: number of the node it continues; -1 for the prompt, which is node 0.
        token: its id; -1 for the prompt.
        step: the step it was looked at, which is how many new tokens lead to it; 0 for the prompt.
        group: the group of beams that looked at it.
        logprob: log-probability (nats) under the model itself, before any penalty.
        total: sum over its path of the log-probabilities after the policy's penalties (nats).
        value: what the search ordered by at that step: `total` less the path's penalties for
            repeating other groups. The two are equal where there is one group.
        fate: `kept`: continued in the next step (though all its continuations may be pruned then);
            `pruned`: given up in this step; `finished`: a hypothesis that ends here.
        score: of a hypothesis: `total / length**length_penalty`; None for other nodes.
        ousted: the step at which better hypotheses took its place among the finished; None while
            it has one, and for other nodes.

    """

    parent: int
    token: int
    step: int
    group: int
    logprob: float
    total: float
    value: float
    fate: Fate
    score: float | None = None
    ousted: int | None = None


@dataclass
class End:
    """When and why a group of beams went no further.

    Attributes:
        step: the last step that it took.
        group: which.
        reason: `length`: the limit of new tokens; `full`: as many hypotheses as beams, which is
            enough when stopping early; `hopeless`: nothing still open could have entered among
            them; `dead end`: every continuation was forbidden.

    """

    step: int
    group: int
    reason: Reason


@dataclass
class Tree:
    """One prompt's search.

    Attributes:
        prompt: its ids.
        width: beams of all groups together.
        groups: into how many groups the beams are divided.
        max_new_tokens: the limit of new tokens.
        stop_ids: ids that end a hypothesis.
        length_penalty: exponent of the length in the score.
        early_stopping: when a group ends; see `beam_search`.
        diversity_penalty: what a token costs for each earlier beam that took it in the same step.
        nodes: the prompt, then what was looked at: step by step, group by group, best value first.
        ends: one for each group.
        returned: numbers of the nodes at which the returned hypotheses end, best first.

    """

    prompt: list[int]
    width: int
    groups: int
    max_new_tokens: int
    stop_ids: list[int]
    length_penalty: float
    early_stopping: bool | Literal["never"]
    diversity_penalty: float
    nodes: list[Node] = field(default_factory=list)
    ends: list[End] = field(default_factory=list)
    returned: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.nodes:
            self.nodes = [Node(-1, -1, 0, 0, 0.0, 0.0, 0.0, "kept")]

    def add(self, node: Node) -> int:
        """The number of a new node."""
        self.nodes.append(node)
        return len(self.nodes) - 1

    def path(self, number: int) -> list[Node]:
        """The nodes from the first new token to node `number`; empty for the prompt's."""
        nodes = []
        while number > 0:
            nodes.append(self.nodes[number])
            number = self.nodes[number].parent
        return nodes[::-1]

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and dictionaries that `json` can write; `from_dict` reads them."""
        return {"version": VERSION, **asdict(self)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Tree":
        """The tree that `to_dict` wrote.

        Raises:
            ValueError: another version, missing or unknown names, a node before its parent.

        """
        if values.get("version") != VERSION:
            raise ValueError(
                f"beam search record: version {values.get('version')!r} is not {VERSION}; "
                "record the search again with this malmoi"
            )
        values = {name: value for name, value in values.items() if name != "version"}
        tree = _record(cls, values)
        tree.nodes = [_record(Node, node) for node in values["nodes"]]
        tree.ends = [_record(End, end) for end in values["ends"]]
        for number, node in enumerate(tree.nodes):
            if not (-1 if number == 0 else 0) <= node.parent < number:
                raise ValueError(f"beam search record: node {number} stands before its parent")
        if not all(0 <= number < len(tree.nodes) for number in tree.returned):
            raise ValueError("beam search record: a returned hypothesis is not in the tree")
        return tree


def _record(kind: type[Record], values: dict[str, Any]) -> Record:
    """A dataclass of exactly these values."""
    names = {item.name for item in fields(kind)}  # type: ignore[arg-type]
    if wrong := sorted(names ^ set(values)):
        raise ValueError(f"beam search record: {wrong[0]!r} is missing or unknown")
    return kind(**values)
