"""What one group of beams does in one step: which continuations it keeps, ends and gives up.

This is the whole of the choosing in a beam search, from log-probabilities alone: the model and its
cache are in `malmoi.decode.beam`, and what was chosen is written down in a `malmoi.decode.tree`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from malmoi.decode.history import History
from malmoi.decode.tree import End, Node, Reason, Tree


@dataclass
class Beam:
    """A beginning that goes on: its node in the tree, its last id, its row, what it has said."""

    node: int
    token: int
    row: int
    history: History


class Group:
    """One search over one prompt: the beams that are open and the best hypotheses."""

    def __init__(self, tree: Tree, number: int, root: Beam) -> None:
        self.tree, self.number = tree, number
        self.width = tree.width // tree.groups
        self.stops = set(tree.stop_ids)
        self.open = [root]
        self.best: list[tuple[float, int]] = []  # (value by length, node), best first
        if not tree.max_new_tokens:
            self._finish(0, 0)
            tree.ends.append(End(0, number, "length"))

    def step(self, step: int, logprobs: Tensor, allowed: Tensor, taken: list[int]) -> list[int]:
        """Continue each open beam by one token, and keep the best of what comes out.

        Args:
            step: which, from 1.
            logprobs: of the model `[R, V]`, on the CPU; beams know their rows.
            allowed: the same after the policy's penalties.
            taken: tokens that cost the diversity penalty, one entry for each time.

        Returns:
            The tokens of the best beams that do not stop, at most as many as the group is wide.

        """
        if not self.open:
            return []
        nodes, vocab_size = self.tree.nodes, allowed.shape[1]
        rows = torch.tensor([beam.row for beam in self.open])
        values = torch.tensor([nodes[beam.node].value for beam in self.open])
        values_RV = allowed[rows] + values[:, None]
        if taken and self.tree.diversity_penalty:
            times = torch.tensor(taken).bincount(minlength=vocab_size)
            values_RV = values_RV - self.tree.diversity_penalty * times
        # A beam ends by one of the stop ids, so among these are `width` that do not end.
        enough = max(2, 1 + len(self.stops)) * self.width
        best = values_RV.flatten().topk(min(enough, values_RV.numel()))
        own = logprobs[rows[best.indices // vocab_size], best.indices % vocab_size]
        last = step == self.tree.max_new_tokens
        going: list[int] = []
        before, self.open = self.open, []
        ranked = zip(best.values.tolist(), best.indices.tolist(), own.tolist(), strict=True)
        for rank, (value, index, logprob) in enumerate(ranked):
            # Past twice the width a candidate is looked at only while too few go on.
            if value == -torch.inf or (rank >= 2 * self.width and len(going) == self.width):
                break
            place, token = divmod(index, vocab_size)
            beam = before[place]
            parent = nodes[beam.node]
            cost = self.tree.diversity_penalty * taken.count(token)
            total = value + (parent.total - parent.value) + cost
            node = Node(beam.node, token, step, self.number, logprob, total, value, "pruned")
            number = self.tree.add(node)
            goes_on = token not in self.stops and len(going) < self.width
            if goes_on:
                going.append(token)
            if rank < self.width and (last or token in self.stops):
                self._finish(number, step)
            elif goes_on and not last:
                node.fate = "kept"
                history = beam.history.copy()
                history.append(token)
                self.open.append(Beam(number, token, beam.row, history))
        if not self.open and not self.best:  # better an unfinished hypothesis than none
            for beam in before:
                self._finish(beam.node, step)
        if reason := self._reason(step, last):
            self.tree.ends.append(End(step, self.number, reason))
            self.open = []
        return going

    def _finish(self, number: int, step: int) -> None:
        """Make a hypothesis of a node, and give up the worst if there are too many."""
        node = self.tree.nodes[number]
        scale = max(1, node.step) ** self.tree.length_penalty
        node.fate, node.score = "finished", node.total / scale
        self.best.append((node.value / scale, number))
        self.best.sort(key=lambda entry: -entry[0])
        for _, ousted in self.best[self.width :]:
            self.tree.nodes[ousted].ousted = step
        self.best = self.best[: self.width]

    def _reason(self, step: int, last: bool) -> Reason | None:
        """Why the search ends after this step, if it does."""
        if last:
            return "length"
        if not self.open:
            return "dead end"
        if len(self.best) < self.width:
            return None
        if self.tree.early_stopping is True or self.width == 1:
            return "full"
        # A sum of log-probabilities only falls (unless the policy adds to some). Divided by a power
        # of the length it may rise again, and only "never" looks ahead to the longest length.
        ahead = self.tree.early_stopping == "never" and self.tree.length_penalty > 0
        length = self.tree.max_new_tokens if ahead else step
        possible = self.tree.nodes[self.open[0].node].value / length**self.tree.length_penalty
        return None if possible > self.best[-1][0] else "hopeless"
