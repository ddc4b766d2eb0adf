"""The report card of tokenizers as lines of text, in Korean or English."""

from collections.abc import Callable
from typing import Any

from malmoi.cli.language import Language
from malmoi.cli.output import columns
from malmoi.text.korean import josa

WIDTH = 100  # columns of a terminal; more tokenizers go below each other
NAMED = 6  # blocks that are told by name

Entry = dict[str, Any]

WORDS: dict[str, dict[str, str]] = {
    "en": {
        "kind": "kind",
        "vocab_size": "vocabulary",
        "tokens": "tokens",
        "tokens_per_character": "tokens per character",
        "tokens_per_syllable": "tokens per syllable",
        "tokens_per_word": "tokens per word (어절)",
        "bytes_per_token": "bytes per token",
        "byte_fragments": "byte fragments among tokens",
        "torn_syllables": "torn syllables",
        "unknown": "unknown tokens",
        "round_trip": "texts that come back",
        "renyi_efficiency": "Rényi efficiency (α 2.5)",
        "vocabulary_used": "vocabulary used",
        "nfd_tokens": "NFD: tokens, times NFC's",
        "nfd_fragments": "NFD: byte fragments",
        "nfd_round_trip": "NFD: texts that come back",
        "nfd_composed": "NFD: come back as NFC",
        "blocks_lost": "Unicode blocks lost",
        "blocks_bytes": "Unicode blocks in bytes",
        "syllables": "of 11,172 syllables, torn",
        "text": "Measured on {characters:,} characters: {syllables:,} syllables, {words:,} words, "
        "{bytes:,} bytes.",
        "split": "Kinds were trained on one part of the text, and all were measured on the other "
        "(--split {split}).",
        "explain": "A byte fragment is a token whose bytes are no whole character; a torn syllable "
        "has its bytes in several tokens.",
        "unicode": "Blocks of Unicode {unicode}: {blocks}. Lost: a text of all its characters does "
        "not come back. In bytes: half of its characters or more.",
        "lost": "{subject} loses: {blocks}",
        "more": "and {n} more",
        "sentence": "“{text}”",
        "trained": "{tokenizer}: {kind}, {vocab_size:,} tokens",
        "counted": "{bytes:,} bytes, {words:,} words, {distinct_words:,} of them distinct, in "
        "{seconds:.1f} s",
        "dropped": "More words than --most-words: the rarest were dropped, {dropped_words:,} "
        "occurrences. No count is too low by more than {count_error:,}.",
    },
    "ko": {
        "kind": "종류",
        "vocab_size": "어휘",
        "tokens": "토큰",
        "tokens_per_character": "글자마다 토큰",
        "tokens_per_syllable": "한글 음절마다 토큰",
        "tokens_per_word": "어절마다 토큰",
        "bytes_per_token": "토큰마다 바이트",
        "byte_fragments": "토큰 가운데 바이트 조각",
        "torn_syllables": "찢어진 음절",
        "unknown": "모르는 토큰",
        "round_trip": "그대로 돌아오는 글",
        "renyi_efficiency": "레니 효율(α 2.5)",
        "vocabulary_used": "쓰인 어휘",
        "nfd_tokens": "NFD: 토큰, NFC의 몇 배",
        "nfd_fragments": "NFD: 바이트 조각",
        "nfd_round_trip": "NFD: 그대로 돌아오는 글",
        "nfd_composed": "NFD: NFC로 돌아오는 글",
        "blocks_lost": "잃는 유니코드 블록",
        "blocks_bytes": "바이트가 되는 블록",
        "syllables": "음절 11,172자 가운데 찢어짐",
        "text": "글자 {characters:,}개로 쟀습니다: 음절 {syllables:,}, 어절 {words:,}, "
        "바이트 {bytes:,}.",
        "split": "종류로 든 것은 글의 한쪽으로 가르치고, 모두 나머지 쪽에서 쟀습니다"
        "(--split {split}).",
        "explain": "바이트 조각은 온전한 글자가 못 되는 토큰이고, 찢어진 음절은 바이트가 여러 "
        "토큰에 나뉜 음절입니다.",
        "unicode": "유니코드 {unicode}의 블록 {blocks}개. 잃음: 블록의 글자를 모두 늘어놓은 글이 "
        "그대로 돌아오지 않음. 바이트: 글자의 절반 이상이 바이트로 쓰임.",
        "lost": "{subject} 잃는 블록: {blocks}",
        "more": "그 밖에 {n}개",
        "sentence": "“{text}”",
        "trained": "{tokenizer}: {kind}, 토큰 {vocab_size:,}개",
        "counted": "{bytes:,}바이트, 낱말 {words:,}개, 서로 다른 것 {distinct_words:,}개, "
        "{seconds:.1f}초",
        "dropped": "서로 다른 낱말이 --most-words보다 많아 드문 것을 버렸습니다"
        "({dropped_words:,}번). 어느 셈도 {count_error:,} 넘게 모자라지 않습니다.",
    },
}  # fmt: skip


def _whole(value: float | None) -> str:
    return "-" if value is None else f"{value:,}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _percent(value: float | None) -> str:
    """Of what is nearly nothing or nearly all, so many digits that it is neither."""
    if value is None:
        return "-"
    if value in (0, 1):
        return f"{100 * value:.0f} %"
    for digits in (1, 2, 3):
        text = f"{100 * value:.{digits}f}"
        if float(text) not in (0, 100):
            return f"{text} %"
    return "< 0.001 %" if value < 0.5 else "> 99.999 %"


_ROWS: tuple[tuple[str, Callable[[Entry], str]], ...] = (
    ("kind", lambda e: str(e["kind"])),
    ("vocab_size", lambda e: _whole(e["vocab_size"])),
    ("tokens", lambda e: _whole(e["tokens"])),
    ("tokens_per_character", lambda e: _number(e["tokens_per_character"])),
    ("tokens_per_syllable", lambda e: _number(e["tokens_per_syllable"])),
    ("tokens_per_word", lambda e: _number(e["tokens_per_word"])),
    ("bytes_per_token", lambda e: _number(e["bytes_per_token"])),
    ("byte_fragments", lambda e: _percent(e["byte_fragments"])),
    ("torn_syllables", lambda e: _percent(e["torn_syllables"])),
    ("unknown", lambda e: _percent(e["unknown"])),
    ("round_trip", lambda e: _percent(e["round_trip"])),
    ("renyi_efficiency", lambda e: _number(e["renyi_efficiency"])),
    ("vocabulary_used", lambda e: _percent(e["vocabulary_used"])),
    ("nfd_tokens", lambda e: _number(e["nfd"]["tokens"])),
    ("nfd_fragments", lambda e: _percent(e["nfd"]["byte_fragments"])),
    ("nfd_round_trip", lambda e: _percent(e["nfd"]["round_trip"])),
    ("nfd_composed", lambda e: _percent(e["nfd"]["composed"])),
    ("blocks_lost", lambda e: _whole(len(e["blocks"]["lost"]))),
    ("blocks_bytes", lambda e: _whole(len(e["blocks"]["in_bytes"]))),
    ("syllables", lambda e: _whole(e["blocks"]["syllables_torn"])),
)


def card(result: dict[str, Any], language: Language) -> str:
    """The result of `malmoi tokenizer report` for people."""
    words, entries = WORDS[language], result["tokenizers"]
    lines = wrapped(words["text"].format(**result["text"]))
    if result["text"]["split"]:
        lines += wrapped(words["split"].format(**result["text"]))
    lines += ["", *table(entries, language), "", *wrapped(words["explain"])]
    lines += wrapped(words["unicode"].format(**entries[0]["blocks"]))
    for entry in entries:
        if lost := [block["block"] for block in entry["blocks"]["lost"]]:
            named = lost[:NAMED]
            if len(lost) > NAMED:
                named.append(words["more"].format(n=len(lost) - NAMED))
            subject = josa(entry["name"], "이/가") if language == "ko" else entry["name"]
            lines += wrapped(words["lost"].format(subject=subject, blocks=", ".join(named)))
    lines += ["", words["sentence"].format(text=result["sentence"])]
    width = max(columns(entry["name"]) for entry in entries)
    for entry in entries:
        name = entry["name"] + " " * (width - columns(entry["name"]))
        lines.append(f"{name}  {cut_text(entry['sentence'])}")
    if result["figure"]:
        lines += ["", result["figure"]]
    return "\n".join(lines)


def table(entries: list[Entry], language: Language) -> list[str]:
    """A row a measure, a column a tokenizer; what does not fit side by side goes below."""
    words = WORDS[language]
    left = [words[key] for key, _ in _ROWS]
    first = max(map(columns, left))
    blocks: list[list[list[str]]] = []
    used = WIDTH + 1
    for entry in entries:
        cells = [entry["name"], *(show(entry) for _, show in _ROWS)]
        width = max(map(columns, cells))
        if used + 2 + width > WIDTH:
            blocks.append([])
            used = first
        blocks[-1].append([" " * (width - columns(cell)) + cell for cell in cells])
        used += 2 + width
    lines: list[str] = []
    for block in blocks:
        lines += [""] if lines else []
        for head, *cells in zip(["", *left], *block, strict=True):
            lines.append("  ".join([head + " " * (first - columns(head)), *cells]).rstrip())
    return lines


def wrapped(text: str) -> list[str]:
    """Lines of at most `WIDTH` columns, where words allow."""
    lines = [""]
    for word in text.split(" "):
        if lines[-1] and columns(f"{lines[-1]} {word}") > WIDTH:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".lstrip()
    return lines


def cut_text(cut: dict[str, Any]) -> str:
    """Tokens with bars between them, spaces as ␣, bytes that are no whole character as <EB>."""
    parts = []
    for token in cut["tokens"]:
        if token["text"] is None:
            data = bytes.fromhex(token["hex"])
            text = "".join(
                f"<{ord(c) - 0xDC00:02X}>" if "\udc80" <= c <= "\udcff" else c
                for c in data.decode("utf-8", "surrogateescape")
            )
        else:
            text = token["text"]
        text = text.replace(" ", "␣")
        parts.append("".join(c if c.isprintable() else repr(c)[1:-1] for c in text))
    return "|".join(parts)


def say_trained(result: dict[str, Any], language: Language) -> str:
    """The result of `malmoi tokenizer train` for people."""
    words = WORDS[language]
    keys = ["trained", "counted", *(["dropped"] if result["count_error"] else [])]
    return "\n".join(words[key].format(**result) for key in keys)
