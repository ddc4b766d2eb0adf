"""Stop strings on a stream: what `str.find` on the whole text says, however the text is cut."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from malmoi.tokenizer import StopText


def cut_at_first_stop(text: str, stops: list[str]) -> tuple[str, bool]:
    ends = [(text.find(stop) + len(stop), -len(stop)) for stop in stops if stop in text]
    if not ends:
        return text, False
    end, minus_length = min(ends)
    return text[: end + minus_length], True


def may_become_stop(text: str, stops: list[str]) -> int:
    """Length of the longest end of `text` that a stop string begins with."""
    return max(
        (n for stop in stops for n in range(1, len(stop)) if text.endswith(stop[:n])), default=0
    )


def run(chunks: list[str], stops: list[str]) -> tuple[str, bool]:
    """Push and finish; on the way, see that no more and no less is held back than must be."""
    stream = StopText(stops)
    shown, came = "", ""
    for chunk in chunks:
        new, stopped = stream.push(chunk)
        shown, came = shown + new, came + chunk
        if stopped:
            assert stream.push("more") == ("", True)
            assert stream.finish() == ""
            assert stream.push("") == ("", False)  # afresh
            return shown, True
        assert shown == came[: len(came) - may_become_stop(came, stops)]
    return shown + stream.finish(), False


letters = st.text("ab한", max_size=12)


@given(st.lists(letters), st.lists(st.text("ab한", min_size=1, max_size=5), max_size=4))
@settings(max_examples=600, deadline=None)
def test_as_find_on_the_whole_text_has_it(chunks, stops):
    assert run(chunks, stops) == cut_at_first_stop("".join(chunks), stops)


@pytest.mark.parametrize(
    ("text", "stops", "expected"),
    [
        ("aaab!", ["aab"], ("a", True)),  # a stop that begins again within itself
        ("xabab", ["abab"], ("x", True)),
        ("xabcd", ["abcd", "bc"], ("xa", True)),  # the first to be whole, not the first to begin
        ("xabc", ["c", "abc", "bc"], ("x", True)),  # of those that end together, the longest
        ("ab", ["abc"], ("ab", False)),
        ("a", ["a" * 50], ("a", False)),
        ("질문: 답\n질문:", ["\n질문:"], ("질문: 답", True)),
        ("\U0001f468‍\U0001f469", ["\U0001f469"], ("\U0001f468‍", True)),
        ("abc", ["abc"], ("", True)),
        ("abc", [], ("abc", False)),
    ],
)
def test_every_way_to_cut_a_text(text, stops, expected):
    for cuts in range(1 << (len(text) - 1)):
        chunks, start = [], 0
        for at in range(1, len(text)):
            if cuts >> (at - 1) & 1:
                chunks.append(text[start:at])
                start = at
        assert run([*chunks, text[start:]], stops) == expected


def test_an_empty_stop_string_is_refused():
    with pytest.raises(ValueError, match="--stop"):
        StopText(["a", ""])


def test_the_cost_is_linear():
    """A search through all that is held back would take minutes here, 10^5 times 10^5 steps."""
    size = 100_000
    begin = time.perf_counter()
    stream = StopText(["a" * size + "b", "a" * (size // 2) + "c"])
    shown = sum(len(stream.push("a")[0]) for _ in range(2 * size))
    assert time.perf_counter() - begin < 20
    assert (shown, len(stream.finish())) == (size, size)
