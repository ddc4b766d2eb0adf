"""`report.html` of `malmoi clean`: what came in, what each step did, what went out and why not.

It is made from the record that `--json` prints, and from nothing else; one file that opens offline.
"""

import json
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any, Literal

WORDS = {
    "ko": {
        "title": "글 정리 보고서",
        "summary": "문서 {read:,}개를 읽어 {kept:,}개를 남겼습니다 ({share:.1%}).",
        "balance": "읽은 문서 {read:,} = 남긴 문서 {kept:,} + 버린 문서 {dropped:,}: 맞습니다.",
        "written": "{bytes:,} 바이트의 글을 {files}개 파일에 썼습니다 ({seconds:.1f}초).",
        "dropped": "버린 문서",
        "steps": "고친 것",
        "files": "파일마다",
        "overlap": "나눈 글이 서로 겹치는 정도",
        "step": "단계", "documents": "문서", "characters": "글자", "samples": "보기 (전 → 후)",
        "reason": "까닭", "file": "파일", "encoding": "인코딩", "confidence": "확신",
        "read": "읽음", "kept": "남김", "problems": "문제",
        "side": "쪽", "share": "학습 글에도 있는 대목", "mostly": "절반 이상 겹치는 문서",
        "before": "그냥 나누면", "after": "이렇게 나눈 뒤", "nothing": "없습니다.",
    },
    "en": {
        "title": "What cleaning did",
        "summary": "{read:,} documents were read, {kept:,} kept ({share:.1%}).",
        "balance": "{read:,} read = {kept:,} kept + {dropped:,} dropped: nothing was lost.",
        "written": "{bytes:,} bytes of text were written to {files} file(s), in {seconds:.1f} s.",
        "dropped": "Documents that were dropped",
        "steps": "What was put right",
        "files": "File by file",
        "overlap": "How much of one side of the split stands in the training side",
        "step": "step", "documents": "documents", "characters": "characters",
        "samples": "samples (before → after)",
        "reason": "reason", "file": "file", "encoding": "encoding", "confidence": "confidence",
        "read": "read", "kept": "kept", "problems": "problems",
        "side": "side", "share": "passages that are in train, too",
        "mostly": "documents mostly in train",
        "before": "split without care", "after": "as it was split", "nothing": "None.",
    },
}  # fmt: skip
STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --mark: #c60; }
body { font: 16px/1.5 system-ui, "Noto Sans KR", "Apple SD Gothic Neo", "Malgun Gothic", sans-serif;
  max-width: 64rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
.table { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: left; padding: .35rem .6rem; border-bottom: 1px solid var(--line);
  vertical-align: top; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.sample { margin: .15rem 0; overflow-wrap: anywhere; }
.sample span { background: var(--soft); border-radius: .2rem; padding: 0 .2rem; }
.bar { background: var(--soft); height: .6rem; border-radius: .3rem; overflow: hidden; }
.bar div { background: var(--mark); height: 100%; }
.problem { color: var(--mark); overflow-wrap: anywhere; }
"""
_FILES = 1000  # so many are shown; the record has all


def to_html(report: Mapping[str, Any], language: Literal["ko", "en"]) -> str:
    """The page.

    Args:
        report: what `malmoi clean --json` prints.
        language: of the page.

    """
    words = WORDS[language]
    documents = report["documents"]
    read, kept = documents["read"], documents["kept"]
    values = {
        "read": read, "kept": kept, "dropped": read - kept, "share": kept / read if read else 0.0,
        "bytes": report["bytes"], "files": len(report["shards"]), "seconds": report["seconds"],
    }  # fmt: skip
    body = [f"<h1>{words['title']}</h1>"]
    body += [f"<p>{words[name].format(**values)}</p>" for name in ("summary", "balance", "written")]
    dropped = sorted(report["dropped"].items(), key=lambda pair: -pair[1])
    body += _section(words["dropped"], words, ("reason", "documents#", ""), (
        (escape(name), f"{count:,}", _bar(count / read)) for name, count in dropped
    ))  # fmt: skip
    body += _section(words["steps"], words, ("step", "documents#", "characters#", "samples"), (
        (escape(name), f"{s['documents']:,}", f"{s['characters']:,}", _samples(s["samples"]))
        for name, s in report["steps"].items()
    ))  # fmt: skip
    if report.get("overlap"):
        body += _section(words["overlap"], words, ("side", "share#", "mostly#"), (
            (_side(name, words), f"{o['share']:.2%}", f"{o['mostly']:,} / {o['texts']:,}")
            for name, o in report["overlap"].items()
        ))  # fmt: skip
    columns = ("file", "encoding", "confidence#", "read#", "kept#", "problems")
    body += _section(words["files"], words, columns, (
        (
            escape(file["name"]), escape(file["encoding"] or ""),
            "" if file["confidence"] is None else f"{file['confidence']:.2f}",
            f"{file['read']:,}", f"{file['kept']:,}",
            "".join(f'<div class="problem">{escape(one)}</div>' for one in file["problems"]),
        )
        for file in report["files"][:_FILES]
    ))  # fmt: skip
    return (
        f'<!doctype html>\n<html lang="{language}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{words['title']}</title><style>{STYLE}</style></head>\n<body>\n"
        + "\n".join(body)
        + f'\n<script type="application/json" id="report">{_inside(report)}</script>'
        "\n</body></html>\n"
    )


def _inside(report: Mapping[str, Any]) -> str:
    """The record as JSON that no text in it can end before its end."""
    return json.dumps(report, ensure_ascii=False).replace("<", "\\u003c")


def _section(
    title: str, words: Mapping[str, str], columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]
) -> list[str]:
    kinds = [' class="number"' if name.endswith("#") else "" for name in columns]
    names = [words.get(name.rstrip("#"), "") for name in columns]
    head = "".join(f"<th{kind}>{name}</th>" for kind, name in zip(kinds, names, strict=True))
    lines = [
        "<tr>"
        + "".join(f"<td{k}>{cell}</td>" for k, cell in zip(kinds, row, strict=True))
        + "</tr>"
        for row in rows
    ]
    if not lines:
        return [f"<h2>{title}</h2>", f"<p>{words['nothing']}</p>"]
    table = (
        f"<table><thead><tr>{head}</tr></thead><tbody>\n" + "\n".join(lines) + "</tbody></table>"
    )
    return [f"<h2>{title}</h2>", f'<div class="table">{table}</div>']


def _side(name: str, words: Mapping[str, str]) -> str:
    side, _, when = name.partition(" ")
    return f"{escape(side)}, {words[when]}"


def _bar(share: float) -> str:
    return f'<div class="bar"><div style="width:{100 * min(1.0, share):.2f}%"></div></div>'


def _samples(samples: Iterable[tuple[str, str]]) -> str:
    return "".join(
        f'<div class="sample"><span>{escape(before)}</span>'
        + (f" → <span>{escape(after)}</span>" if after else "")
        + "</div>"
        for before, after in samples
    )
