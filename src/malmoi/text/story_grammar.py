"""The engine under the built-in corpus: a small template language that knows its probabilities.

A template is plain Korean with four marks:

    [산*3|들|강]       choose one; `*3` gives a weight, 1 without; alternatives may nest
    {animal:이/가}     mention a word. The first mention draws it from the table "animal", every
                       later one repeats it; the particle agrees with whatever was drawn.
                       {animal2} is a second one from the same table, never the same as the first
    {?flower:와/과}    any other word of the table, drawn anew and not remembered
    {spot.helper}      what the drawn word says of itself: a template again, expanded at the first
                       mention and repeated after it
    <기뻤>             a shared phrase, expanded anew each time

`Grammar.tell` draws a text and adds up log2 of each choice. `Grammar.log2_probability` goes the
other way and knows nothing of how a text was drawn: it walks the templates along the text and
sums over every derivation that spells it. The two agree exactly where no text has two
derivations; tests/text/test_stories.py proves that of our grammar.
"""

import math
import random
import re
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate

from malmoi.text.korean import josa


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a table: its text, and templates of what else is known of it."""

    text: str
    notes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """One of several templates: `cumulative` probabilities to draw by, `log2s` to add up."""

    options: tuple["Template", ...]
    cumulative: tuple[float, ...]
    log2s: tuple[float, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Mention:
    """A word, or with `note` something it says of itself, and the particle pair after it."""

    name: str  # what it is remembered by; "" for {?any}
    particle: str
    table: str
    owner: str  # the name whose word is asked: "spot" for {spot.helper}
    note: str


Template = tuple[str | Choice | Mention, ...]

_TOKEN = re.compile(r"[\[\]|]|\{[^{}]*\}|<[^<>]*>|[^\[\]|{}<>]+|.", re.DOTALL)
_MENTION = re.compile(r"\{(\??(?:[^\W\d]+)\d*)(?:\.(\w+))?(?::([^{}]+))?\}")
_WEIGHT = re.compile(r"\*(\d+)$")
_agree = lru_cache(maxsize=8192)(josa)


def tidy(template: str) -> str:
    """Source layout to text: a line break is a space, a blank line a new paragraph.

    A line break beside `[` or `|` or before `]` is no space at all, so that long choices can be
    written over several lines.
    """
    template = re.sub(r"[ \t]*\n[ \t]*", "\n", template.strip())
    template = re.sub(r"(?<=[\[|])\n|\n(?=[|\]])", "", template)
    return re.sub(r"\n+", lambda gap: " " if len(gap.group()) == 1 else "\n", template)


class Grammar:
    """Templates compiled once: `start` is told, `phrases` are its <parts>, `tables` its words.

    Raises ValueError for a template that is not well formed or names what does not exist.
    """

    def __init__(
        self, start: str, phrases: Mapping[str, str], tables: Mapping[str, Sequence[Word]]
    ):
        self.tables = {name: tuple(words) for name, words in tables.items()}
        for name, words in self.tables.items():
            if not words or len({word.text for word in words}) < len(words):
                raise ValueError(f"table {name!r} is empty or has a word twice")
        self._sources = phrases
        self._compiled: dict[str, Template | None] = {}
        self._names: dict[str, list[str]] = {name: [] for name in self.tables}
        self.start = self._compile(start)
        self._notes: dict[tuple[str, str, str], Template] = {}
        for table, words in self.tables.items():
            for word in words:
                for note, source in word.notes.items():
                    self._notes[table, word.text, note] = self._compile(source)

    # Compiling.

    def _compile(self, source: str) -> Template:
        tokens = _TOKEN.findall(tidy(source))
        template, end = self._sequence(tokens, 0, source)
        if end < len(tokens):
            raise ValueError(f"stray {tokens[end]!r} in {source!r}")
        return template

    def _sequence(self, tokens: list[str], at: int, source: str) -> tuple[Template, int]:
        nodes: list[str | Choice | Mention] = []
        while at < len(tokens) and tokens[at] not in "]|":
            token = tokens[at]
            at += 1
            if token == "[":
                choice, at = self._choice(tokens, at, source)
                nodes.append(choice)
            elif token[0] == "{":
                nodes.append(self._mention(token))
            elif token[0] == "<":
                nodes.extend(self._phrase(token[1:-1]))
            else:
                nodes.append(token)
        return tuple(nodes), at

    def _choice(self, tokens: list[str], at: int, source: str) -> tuple[Choice, int]:
        options, weights = [], []
        while True:
            option, at = self._sequence(tokens, at, source)
            weight = 1
            if option and isinstance(option[-1], str) and (found := _WEIGHT.search(option[-1])):
                weight = int(found.group(1))
                rest = option[-1][: found.start()]
                option = (*option[:-1], rest) if rest else option[:-1]
            options.append(option)
            weights.append(weight)
            if at >= len(tokens) or not all(weights):
                raise ValueError(f"a choice without end, or of weight 0, in {source!r}")
            at += 1
            if tokens[at - 1] == "]":
                break
        total = sum(weights)
        cumulative = tuple(part / total for part in accumulate(weights))
        return Choice(tuple(options), cumulative, tuple(math.log2(w / total) for w in weights)), at

    def _mention(self, token: str) -> Mention:
        found = _MENTION.fullmatch(token)
        owner, note, particle = found.groups(default="") if found else ("", "", "")
        table = owner.removeprefix("?").rstrip("0123456789")
        if table not in self.tables:
            raise ValueError(f"{token} names no table; there are {', '.join(self.tables)}")
        if owner[0] == "?":
            if note or owner[1:] != table:
                raise ValueError(f"{token}: a word that is not remembered is only a word")
            return Mention("", particle, table, "", "")
        if particle:
            josa("가", particle)  # raises for an unknown pair
        if note and not all(note in word.notes for word in self.tables[table]):
            raise ValueError(f"{token}: not every word of {table!r} has a {note!r}")
        if owner not in self._names[table]:
            self._names[table].append(owner)
        return Mention(f"{owner}.{note}" if note else owner, particle, table, owner, note)

    def _phrase(self, name: str) -> Template:
        if name not in self._compiled:
            if name not in self._sources:
                raise ValueError(f"<{name}> is no phrase")
            self._compiled[name] = None  # under way: who asks for it now asks in a circle
            self._compiled[name] = self._compile(self._sources[name])
        template = self._compiled[name]
        if template is None:
            raise ValueError(f"<{name}> contains itself")
        return template

    def note(self, mention: Mention, word: str) -> Template:
        """The template of what `word` says of itself, for a mention that asks it."""
        return self._notes[mention.table, word, mention.note]

    def taken(self, mention: Mention, bound: Mapping[str, str]) -> list[str]:
        """The words of the mention's table that other names already have."""
        return [bound[name] for name in self._names[mention.table] if name in bound]

    # Telling.

    def tell(self, rng: random.Random) -> tuple[str, float]:
        """Draw one text; its log2 probability is that of the choices made."""
        pieces: list[str] = []
        log2 = self._tell(self.start, pieces, {}, rng.random)
        return "".join(pieces), log2

    def _tell(
        self,
        template: Template,
        pieces: list[str],
        bound: dict[str, str],
        uniform: Callable[[], float],
    ) -> float:
        log2 = 0.0
        for node in template:
            if isinstance(node, str):
                pieces.append(node)
            elif isinstance(node, Choice):
                pick = bisect_right(node.cumulative, uniform())
                log2 += node.log2s[pick]
                option = node.options[pick]
                if len(option) == 1 and isinstance(option[0], str):  # by far the commonest
                    pieces.append(option[0])
                else:
                    log2 += self._tell(option, pieces, bound, uniform)
            else:
                if node.name not in bound:
                    text, cost = self._draw(node, bound, uniform)
                    log2 += cost
                    if node.name:
                        bound[node.name] = text
                else:
                    text = bound[node.name]
                pieces.append(_agree(text, node.particle) if node.particle else text)
        return log2

    def _draw(
        self, mention: Mention, bound: dict[str, str], uniform: Callable[[], float]
    ) -> tuple[str, float]:
        if mention.note:
            if mention.owner not in bound:
                raise ValueError(f"{{{mention.name}}} comes before {{{mention.owner}}}")
            pieces: list[str] = []
            template = self.note(mention, bound[mention.owner])
            log2 = self._tell(template, pieces, bound, uniform)
            return "".join(pieces), log2
        words = self.tables[mention.table]
        taken = self.taken(mention, bound)
        while (text := words[int(uniform() * len(words))].text) in taken:
            pass
        return text, -math.log2(len(words) - len(taken))

    # Reading.

    def derivations(self, text: str) -> list[float]:
        """log2 of the probability of each way in which the grammar could have told the text.

        A depth-first walk over (what is still to be told, where in the text, what is bound).
        Words are drawn where they are first written, so that a wrong guess dies at once.
        """
        found: list[float] = []
        stack: list[tuple[_Todo, int, dict[str, str], float]] = [
            (_chain(self.start, None), 0, {}, 0.0)
        ]
        while stack:
            todo, at, bound, log2 = stack.pop()
            if todo is None:
                if at == len(text):
                    found.append(log2)
                continue
            node, rest = todo
            if isinstance(node, str):
                if text.startswith(node, at):
                    stack.append((rest, at + len(node), bound, log2))
            elif isinstance(node, Choice):
                for option, bits in zip(node.options, node.log2s, strict=True):
                    if option and isinstance(option[0], str) and not text.startswith(option[0], at):
                        continue
                    stack.append((_chain(option, rest), at, bound, log2 + bits))
            elif isinstance(node, _Remember):
                known = text[node.since : at]
                bound = {**bound, node.mention.name: known}
                stack.append(((node.mention, rest), node.since, bound, log2))
            elif node.name in bound:
                spoken = _spoken(bound[node.name], node.particle)
                if text.startswith(spoken, at):
                    stack.append((rest, at + len(spoken), bound, log2))
            elif node.note:
                # Read the note first, then once more as a known text with its particle.
                after: _Todo = (_Remember(node, at), rest)
                stack.append((_chain(self.note(node, bound[node.owner]), after), at, bound, log2))
            else:
                taken = self.taken(node, bound)
                bits = -math.log2(len(self.tables[node.table]) - len(taken))
                for word in self.tables[node.table]:
                    spoken = _spoken(word.text, node.particle)
                    if word.text not in taken and text.startswith(spoken, at):
                        now = {**bound, node.name: word.text} if node.name else bound
                        stack.append((rest, at + len(spoken), now, log2 + bits))
        return found

    def log2_probability(self, text: str) -> float:
        """log2 of the probability that `tell` tells exactly this text; -inf if it never could."""
        found = self.derivations(text)
        if not found:
            return -math.inf
        best = max(found)
        return best + math.log2(sum(2.0 ** (log2 - best) for log2 in found))


@dataclass(frozen=True, slots=True, eq=False)
class _Remember:
    mention: Mention
    since: int


_Todo = tuple[str | Choice | Mention | _Remember, "_Todo"] | None


def _chain(template: Template, rest: _Todo) -> _Todo:
    for node in reversed(template):
        rest = (node, rest)
    return rest


def _spoken(text: str, particle: str) -> str:
    return _agree(text, particle) if particle else text
