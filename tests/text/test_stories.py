"""The built-in corpus: exact probabilities, proved and measured, and the Korean in it."""

import math
import random
import re
import unicodedata
from itertools import combinations, islice

import pytest

from malmoi.text.korean import josa
from malmoi.text.stories import (
    Story,
    log2_probability,
    stories,
    story_entropy,
    story_grammar,
)
from malmoi.text.story_events import TABLES
from malmoi.text.story_grammar import Choice, Grammar, Mention, Template, Word, tidy
from malmoi.text.story_plots import PLOTS

SAMPLE = list(stories(2000, seed=7))


# The source.


def test_deterministic_by_seed_and_any_size():
    assert list(stories(20, seed=3)) == list(islice(stories(seed=3), 20))
    assert list(stories(5, seed=3)) != list(stories(5, seed=4))
    assert list(stories(0)) == []
    with pytest.raises(ValueError, match="at least 0"):
        stories(-1)


def test_no_text_twice():
    assert len({story.text for story in SAMPLE}) == len(SAMPLE)


def test_repeats_are_skipped(monkeypatch):
    tiny = Grammar("[가|나|다]", {}, {})
    monkeypatch.setattr("malmoi.text.stories.story_grammar", lambda: tiny)
    assert sorted(story.text for story in stories(3)) == ["가", "나", "다"]


def test_reading_a_story_gives_the_probability_it_was_told_with():
    for story in SAMPLE[:400]:
        assert log2_probability(story.text) == pytest.approx(story.log2_probability, abs=1e-9)


def test_what_could_not_be_told_has_probability_zero():
    text = next(s.text for s in SAMPLE if "토끼가" in s.text)
    assert log2_probability(text) > -math.inf
    for broken in (
        "",
        "옛날 옛적에",
        text + " ",
        text[:-1],
        text.replace("토끼가", "토끼이"),
        text[:40] + text[41:],
        text + "\n" + text,
    ):
        assert log2_probability(broken) == -math.inf


def test_a_name_changed_half_way_has_probability_zero():
    for story in SAMPLE[:50]:
        names = [w.text for w in (*TABLES["name"], *TABLES["child"]) if w.text in story.text]
        name = max(names, key=story.text.count)
        at = story.text.rfind(name)
        other = "돌이" if name != "돌이" else "순이"
        assert log2_probability(story.text[:at] + other + story.text[at + len(name) :]) == -math.inf


def test_entropy_is_bits_over_bytes():
    told = [Story("가나", -3.0), Story("다", -6.0)]
    assert story_entropy(told) == pytest.approx(9 / 9)
    with pytest.raises(ValueError, match="not defined"):
        story_entropy([])


def test_early_choices_come_as_often_as_their_probability_says():
    def close(seen: int, probability: float) -> bool:
        deviation = math.sqrt(len(SAMPLE) * probability * (1 - probability))
        return abs(seen - len(SAMPLE) * probability) < 4 * deviation

    starts = sum(story.text.startswith("옛날 옛적에") for story in SAMPLE)
    assert close(starts, 18 / 20 * 16 / 23)
    assert close(sum(story.text.endswith("습니다.") for story in SAMPLE), 1 / 2)
    assert close(sum("나라에 " in s.text.split("\n")[0] for s in SAMPLE), 1 / len(PLOTS))
    # Broken promises: 2 of 5 of a seventh.
    assert close(sum("목소리가 들렸" in s.text and "약속" in s.text for s in SAMPLE), 2 / 35)


# The engine, on grammars small enough to write out.

TOY = {
    "x": (Word("곰", {"cry": "[어흥|크앙*3]"}), Word("소", {"cry": "음매"})),
    "y": (Word("밤"), Word("배"), Word("감")),
}


def test_toy_grammar_by_enumeration():
    grammar = Grammar("[가*3|나]<또>{x:이/가} {x2}, {x.cry}!", {"또": "[| 또 ]"}, TOY)
    expected = {}
    for first, p_first in (("가", 3 / 4), ("나", 1 / 4)):
        for again in ("", " 또 "):
            p = p_first / 2 / 2
            expected[f"{first}{again}곰이 소, 어흥!"] = p / 4
            expected[f"{first}{again}곰이 소, 크앙!"] = p * 3 / 4
            expected[f"{first}{again}소가 곰, 음매!"] = p
    assert sum(expected.values()) == pytest.approx(1)
    for text, p in expected.items():
        assert grammar.log2_probability(text) == pytest.approx(math.log2(p))
    assert grammar.log2_probability("가곰이 곰, 어흥!") == -math.inf

    rng, draws = random.Random(0), 20_000
    seen: dict[str, int] = dict.fromkeys(expected, 0)
    for _ in range(draws):
        text, log2 = grammar.tell(rng)
        assert log2 == pytest.approx(math.log2(expected[text]))
        seen[text] += 1
    chi2 = sum((seen[t] - draws * p) ** 2 / (draws * p) for t, p in expected.items())
    assert chi2 < 31  # 11 degrees of freedom: one time in a thousand


def test_notes_are_remembered_with_their_particle():
    grammar = Grammar("{x:은/는} {x.cry:을/를} {x.cry}", {}, TOY)
    assert grammar.log2_probability("곰은 크앙을 크앙") == pytest.approx(math.log2(3 / 8))
    assert grammar.log2_probability("소는 음매를 음매") == pytest.approx(-1)
    assert grammar.log2_probability("곰은 크앙을 어흥") == -math.inf


def test_any_word_is_neither_remembered_nor_one_that_is():
    grammar = Grammar("{y} {?y} {?y} {y}", {}, TOY)
    assert grammar.log2_probability("밤 배 배 밤") == pytest.approx(math.log2(1 / 3 / 2 / 2))
    assert grammar.log2_probability("밤 배 감 밤") == pytest.approx(math.log2(1 / 3 / 2 / 2))
    assert grammar.log2_probability("밤 밤 배 밤") == -math.inf


def test_probability_sums_over_all_derivations():
    grammar = Grammar("[가|가나][나다|다]", {}, {})
    assert len(grammar.derivations("가나다")) == 2
    assert grammar.log2_probability("가나다") == pytest.approx(-1)
    assert grammar.log2_probability("가다") == pytest.approx(-2)


def test_layout():
    assert tidy("\n가 나\n  다\n\n라\n") == "가 나 다\n라"
    assert tidy("[가|\n  나|\n다\n]") == "[가|나|다]"


@pytest.mark.parametrize(
    "bad",
    [
        "[가|나",
        "가]",
        "가|나",
        "{z}",
        "{x.z}",
        "{x:가/나}",
        "{?x2}",
        "{?x.cry}",
        "<없다>",
        "<돌>",
        "[가*0|나]",
    ],
)
def test_bad_templates_are_refused(bad):
    with pytest.raises(ValueError, match=r".+"):
        Grammar(bad, {"돌": "가<돌>"}, TOY)


def test_bad_tables_are_refused():
    with pytest.raises(ValueError, match="word twice"):
        Grammar("가", {}, {"x": (Word("곰"), Word("곰"))})


# No text has two derivations: the proof.


class Automaton:
    """The grammar as a finite automaton that forgets which word was bound.

    It spells every text the grammar does, along a path of its own for each derivation, and more
    texts besides. So if it has no two paths of one text, the grammar has no two derivations.
    """

    def __init__(self, grammar: Grammar):
        self.grammar = grammar
        self.free: list[list[int]] = []  # moves that read nothing
        self.read: list[dict[str, int]] = []  # moves that read a character
        self.start = self.template(grammar.start, self.state())

    def state(self, free: list[int] | None = None, read: dict[str, int] | None = None) -> int:
        self.free.append(free or [])
        self.read.append(read or {})
        return len(self.free) - 1

    def template(self, template: Template, end: int) -> int:
        for node in reversed(template):
            if isinstance(node, str):
                for char in reversed(node):
                    end = self.state(read={char: end})
            elif isinstance(node, Choice):
                end = self.state(free=[self.template(option, end) for option in node.options])
            else:
                end = self.mention(node, end)
        return end

    def mention(self, node: Mention, end: int) -> int:
        words = self.grammar.tables[node.table]
        if node.note:
            if node.particle:
                tails = {josa(word, node.particle)[1:] for word in "가각갈"}
                end = self.state(free=[self.template((tail,), end) for tail in sorted(tails)])
            notes = {self.grammar.note(node, word.text) for word in words}
            return self.state(free=[self.template(note, end) for note in notes])
        spoken = [josa(w.text, node.particle) if node.particle else w.text for w in words]
        assert len(set(spoken)) == len(spoken)
        return self.tree(sorted(spoken), end)

    def tree(self, words: list[str], end: int) -> int:
        """Words as a tree of characters, which cannot be ambiguous but where a word ends."""
        branches: dict[str, list[str]] = {}
        for word in words:
            if word:
                branches.setdefault(word[0], []).append(word[1:])
        inner = self.state(read={char: self.tree(rest, end) for char, rest in branches.items()})
        if "" not in words:
            return inner
        return self.state(free=[end, inner]) if branches else end

    def ambiguity(self) -> bool:
        """Whether two paths that part somewhere can read the same and meet again."""
        todo = [pair for free in self.free for pair in combinations(free, 2)]
        seen = set(todo)
        while todo:
            p, q = todo.pop()
            if p == q:
                return True
            if self.free[p]:
                after = [(next_p, q) for next_p in self.free[p]]
            elif self.free[q]:
                after = [(p, next_q) for next_q in self.free[q]]
            else:
                shared = self.read[p].keys() & self.read[q].keys()
                after = [(self.read[p][char], self.read[q][char]) for char in shared]
            todo += [pair for pair in after if pair not in seen]
            seen.update(after)
        return False


def test_the_proof_finds_an_ambiguity_where_there_is_one():
    assert Automaton(Grammar("[가|가나][나다|다]", {}, {})).ambiguity()
    assert Automaton(Grammar("[가|가]", {}, {})).ambiguity()
    assert Automaton(Grammar("[|가][가|]", {}, {})).ambiguity()
    assert not Automaton(Grammar("[가|가나]{x}[나|다]", {}, TOY)).ambiguity()


def test_no_text_has_two_derivations():
    assert not Automaton(story_grammar()).ambiguity()


# The Korean.


def narration(text: str) -> list[str]:
    """The sentences outside of quotes."""
    return [s.strip() for s in re.split(r"(?<=[.])", re.sub(r"“[^”]*”", "", text)) if s.strip()]


def test_form():
    for story in SAMPLE:
        text = story.text
        assert unicodedata.is_normalized("NFC", text)
        assert 250 <= len(text) <= 800
        assert len(text.split("\n")) >= 4
        assert not re.search(r"  | \n|\n |\n\n| [.,!?]|[\[\]{}<>|*]|^\s|\s$", text)
        assert re.sub(r"[^“”]", "", text) == "“”" * text.count("“")


def test_narration_is_past_and_of_one_style():
    for story in SAMPLE:
        endings = {sentence[-4:-1] for sentence in narration(story.text)}
        styles = {"어요" if ending.endswith("어요") else ending[-3:] for ending in endings}
        assert styles in ({"어요"}, {"습니다"})
        for sentence in narration(story.text):
            stem = sentence.removesuffix("어요.").removesuffix("습니다.")[-1]
            assert unicodedata.normalize("NFD", stem)[-1] == "\u11bb", sentence  # final ㅆ: past


def test_elders_are_honoured():
    honoured = 0
    for story in SAMPLE:
        for sentence in narration(story.text):
            if "께서" in sentence:
                honoured += 1
                assert re.search("셨|주신", sentence), sentence
    assert honoured > 1000


def test_particles_agree_with_every_noun():
    """Checked without korean.py: by whether NFD ends in a final jamo, and in which."""
    nouns = sorted({word.text for words in TABLES.values() for word in words}, key=len)
    pattern = re.compile(
        r"(?<![가-힣])("
        + "|".join(reversed(nouns))
        + r")(은|는|이|가|을|를|과|와|으로|로|아|야)(?![가-힣])"
    )
    after_consonant = {"은", "이", "을", "과", "으로", "아"}
    checked = 0
    for story in SAMPLE:
        for noun, particle in pattern.findall(story.text):
            if noun + particle in nouns:  # 강가 is no 강 with a particle
                continue
            final = unicodedata.normalize("NFD", noun)[-1]
            closed = "\u11a8" <= final <= "\u11c2"
            if particle in ("으로", "로"):
                closed = closed and final != "\u11af"  # ㄹ
            assert closed == (particle in after_consonant), noun + particle
            checked += 1
    assert checked > 20 * len(SAMPLE)


def test_what_was_lost_is_what_is_found():
    lost = re.compile(r"(\S+)[을를] (?:잃어버렸|떨어뜨렸|잃고 말았)")
    found = re.compile(r"(\S+)[을를] (?:꺼내|찾아) 주었")
    checked = 0
    for story in SAMPLE:
        if match := lost.search(story.text):
            assert found.findall(story.text) == [match.group(1)]
            assert re.search(rf"무늬 \S+ {match.group(1)}[이가] ", story.text.split("\n")[0])
            checked += 1
    assert checked > 100


def test_the_talent_of_the_beginning_wins_the_cure():
    checked = 0
    for story in SAMPLE:
        first = story.text.split("\n")[0]
        for talent in ("노래를", "춤을", "피리를", "시를", "글씨를"):
            if f"{talent} 잘" in first and "모시고" in first:
                assert talent[:-1] in story.text.split("\n")[3]
                checked += 1
    assert checked > 50
