import csv
import io
import json
import tracemalloc
import unicodedata
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from malmoi.text.formats import Piece, documents

DATA = Path(__file__).parents[2].parent / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data in {DATA}")


def run(data: str | bytes, kind: str, field: str | None = None) -> list[Piece]:
    raw = io.BytesIO(data.encode() if isinstance(data, str) else data)
    return list(documents(raw, kind, "f", field=field))


def text_of(data: str | bytes, kind: str, field: str | None = None) -> list[str]:
    pieces = run(data, kind, field)
    assert all(piece.first for piece in pieces)
    return [piece.text for piece in pieces]


def fails(data: str | bytes, kind: str, match: str, field: str | None = None) -> None:
    with pytest.raises(ValueError, match=match) as caught:
        run(data, kind, field)
    assert type(caught.value) is ValueError
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("f")


def parquet(table: pa.Table, **options: object) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out, **options)
    return out.getvalue()


# Which field is the text


@pytest.mark.parametrize("name", ["document", "text", "content"])
def test_field_is_found_by_its_name(name: str) -> None:
    record = {"title": "제목", name: "본문", "n": 3}
    line = json.dumps(record, ensure_ascii=False)
    table = pa.Table.from_pylist([record])
    assert text_of(line, "jsonl") == ["본문"]
    assert text_of(f"[{line}]", "json") == ["본문"]
    assert text_of(line, "json") == ["본문"]
    assert text_of(f"title,{name},n\n제목,본문,3\n", "csv") == ["본문"]
    assert text_of(f"title\t{name}\tn\n제목\t본문\t3\n", "tsv") == ["본문"]
    assert text_of(parquet(table), "parquet") == ["본문"]


def test_document_comes_before_text_before_content() -> None:
    assert text_of('{"content": "c", "text": "t", "document": "d"}', "jsonl") == ["d"]
    assert text_of("content,text\nc,t\n", "csv") == ["t"]


def test_the_only_text_there_is() -> None:
    record = {"id": 1, "sentence": "한 줄", "score": 0.5, "ok": True}
    assert text_of(json.dumps(record), "jsonl") == ["한 줄"]
    assert text_of("id,sentence,score\n1,한 줄,0.5\n", "csv") == ["한 줄"]
    assert text_of(parquet(pa.Table.from_pylist([record])), "parquet") == ["한 줄"]


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "tsv", "parquet"])
def test_unclear_and_missing_fields_list_what_is_there(kind: str) -> None:
    record = {"Q": "질문", "A": "답", "label": 1}
    data: str | bytes
    match kind:
        case "parquet":
            data = parquet(pa.Table.from_pylist([record]))
        case "csv" | "tsv":
            data = "Q,A,label\n질문,답,1\n".replace(",", "," if kind == "csv" else "\t")
        case _:
            data = json.dumps(record)
    fails(data, kind, "which field is the text.*--field.*Q, A, label")
    fails(data, kind, "no field 'X'.*Q, A, label", field="X")
    assert text_of(data, kind, field="A") == ["답"]


def test_a_field_that_is_no_text() -> None:
    fails('{"text": "a", "label": 1}', "jsonl", "'label' is a number", field="label")
    table = parquet(pa.table({"text": ["a"], "label": [1]}))
    fails(table, "parquet", "'label' is of type int64", field="label")
    fails('{"label": 1}', "jsonl", "no field with text")
    fails('{"text": "a"}\n{"text": 7}', "jsonl", "f:2: the field is a number, not text")


def test_records_without_the_field_are_left_out() -> None:
    lines = '{"text": null}\n{"x": 1}\n{"text": "a"}\n\n{"text": "  "}\n{"text": "b"}\n'
    assert [(p.text, p.source) for p in run(lines, "jsonl")] == [("a", "f:3"), ("b", "f:6")]
    assert text_of(parquet(pa.table({"text": [None, "a", "", "b"]})), "parquet") == ["a", "b"]
    assert text_of("text,n\na,1\n,2\nb\n", "csv") == ["a", "b"]


def test_nested_fields_and_lists() -> None:
    record = {"meta": {"lang": "ko"}, "body": {"text": "안쪽"}, "tags": ["x", "y"]}
    assert text_of(json.dumps(record), "jsonl", "body.text") == ["안쪽"]
    assert text_of(json.dumps(record), "jsonl", "tags") == ["x", "y"]
    assert text_of(json.dumps({"a.b": "점", "a": {"b": "길"}}), "jsonl", "a.b") == ["점"]
    table = parquet(pa.Table.from_pylist([record, record]))
    assert text_of(table, "parquet", "body.text") == ["안쪽"] * 2
    assert text_of(table, "parquet", "tags") == ["x", "y"] * 2
    squad = {"version": 1, "data": [{"p": [{"context": "가"}, {"context": "나"}]}, {"p": []}]}
    assert text_of(json.dumps(squad), "json", "data.p.context") == ["가", "나"]
    fails(json.dumps(record), "jsonl", "meta.lang, body.text, tags")


def test_bare_strings_are_documents() -> None:
    assert text_of('["가", "나"]', "json") == ["가", "나"]
    assert text_of('"가"\n"나"\n', "jsonl") == ["가", "나"]
    fails("[[1]]", "json", "expected an object or a string, found a list")
    fails("3\n", "jsonl", "f:1: expected an object or a string, found a number")


# Each format


def test_plain_is_one_document() -> None:
    assert run("첫 줄\r\n둘째 줄\n", "plain") == [Piece("첫 줄\n둘째 줄\n", True, "f")]
    assert run(" \n\n", "plain") == []
    long = run("0123456789\n" * 300_000, "plain")
    assert [piece.first for piece in long] == [True] + [False] * (len(long) - 1)
    assert len(long) > 2


def test_a_named_column_of_a_txt_table() -> None:
    """NSMC's ratings are tab-separated and called .txt."""
    data = "id\tdocument\tlabel\n1\t아 더빙\t0\n"
    assert text_of(data, "plain", "document") == ["아 더빙"]
    assert text_of(data, "plain") == [data]
    assert text_of("document\nis a word\n", "plain", "document") == ["document\nis a word\n"]


def test_csv_like_the_csv_module() -> None:
    rows = [["id", "text"], ["1", 'say "hi", twice'], ["2", "두\n줄\n\n"], ["3", "x" * 300_000]]
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    assert text_of(out.getvalue(), "csv") == [row[1] for row in rows[1:]]
    assert [p.source for p in run(out.getvalue(), "csv")] == ["f:2", "f:3", "f:7"]


def test_csv_with_semicolons_and_a_mark() -> None:
    assert text_of("\ufefftext;n\n가, 나;1\n", "csv") == ["가, 나"]


def test_csv_quote_never_closed() -> None:
    fails('text,n\nfine,1\n"open,2\nmore,3\n', "csv", "f:3: malformed CSV: a quote is never closed")


def test_only_newline_ends_a_record() -> None:
    odd = "가\u2028나\x85다\x0b라\x1c마"
    assert text_of(json.dumps({"text": odd}, ensure_ascii=False) + "\n", "jsonl") == [odd]
    assert text_of(f"text,n\n{odd},1\n", "csv") == [odd]


def test_text_out_of_records_is_cleaned() -> None:
    """What escapes hide: decomposed letters, line ends, half a surrogate pair, a whole one."""
    data = r'{"text": "\u1112\u1161\u11ab\r\n\ud83d\ude00 \ud83d!"}'
    assert text_of(data, "jsonl") == ["한\n😀 \ufffd!"]
    table = parquet(pa.table({"text": ["\u1112\u1161\u11ab\r\n"]}))
    assert text_of(table, "parquet") == ["한\n"]


@pytest.mark.parametrize(
    ("data", "kind", "match"),
    [
        ('{"text": "a"}\n{"text": \n', "jsonl", "f:2: malformed JSON"),
        ('{"text": "a"}\nnot json\n', "jsonl", "f:2: malformed JSON"),
        ('[\n{"text": "a"},\n{"text" "b"}\n]', "json", "f:3: malformed JSON"),
        ('[\n{"text": "a"}\n{"text": "b"}]', "json", "f:3: malformed JSON: expected ','"),
        ('[{"text": "a"},\n', "json", "f:2: malformed JSON: the array is never closed"),
        ('[{"text": "a"},\n{"te', "json", "f:2: malformed JSON"),
        ('["a"]\n["b"]', "json", "f:2: malformed JSON: more text after"),
        ('{"text": "a', "json", "f:1: malformed JSON"),
        ("hello", "json", "f:1: malformed JSON"),
        ('{"n": 1' + "0" * 5000 + "}", "jsonl", "f:1: JSON we cannot read"),
        ("[" * 100_000, "jsonl", "f:1: JSON we cannot read"),
        (b"PAR1 and then nothing of the sort", "parquet", "not readable as Parquet"),
        (b"\x89PNG\r\n\x1a\n" + bytes(99), "csv", "PNG"),
    ],
)
def test_malformed_is_one_line_with_its_place(data: str, kind: str, match: str) -> None:
    fails(data, kind, match)


def test_empty_files_have_no_documents() -> None:
    for kind in ("plain", "jsonl", "json", "csv", "tsv"):
        assert run("", kind) == []
        assert run(" \n \n", kind) == []
    for kind, data in (("json", "[]"), ("csv", "text,n\n"), ("tsv", "text\n")):
        assert run(data, kind) == []


def test_json_streams_like_json_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the pieces are, the values are those of the standard parser, with their lines."""
    records = [
        {"text": f'항목 {i} "\\\n\u2028 ' + "가" * (i * 37 % 300), "n": i} for i in range(60)
    ]
    for indent in (None, 2):
        data = json.dumps(records, indent=indent, ensure_ascii=indent is None)
        for chunk in (5, 64, 1000):
            monkeypatch.setattr("malmoi.text.encoding.CHUNK", chunk)
            pieces = list(documents(io.BytesIO(data.encode()), "json", "f", encoding="utf-8"))
            assert [p.text for p in pieces] == [r["text"] for r in records]
        if indent:
            assert [p.source for p in pieces] == [f"f:{2 + 4 * i}" for i in range(60)]


def test_values_one_after_the_other_in_a_json_file() -> None:
    assert text_of('{"text": "a"}\n{"text": "b"} {"text": "c"}', "json") == ["a", "b", "c"]


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv"])
def test_memory_stays_flat(kind: str) -> None:
    text = "열 손가락 깨물어 안 아픈 손가락 없다. " * 20
    line = json.dumps({"text": text, "other": text}, ensure_ascii=False)
    many = 4000
    match kind:
        case "jsonl":
            data = (line + "\n") * many
        case "json":
            data = "[" + ",\n".join([line] * many) + "]"
        case _:
            data = "text,other\n" + f'"{text}","{text}"\n' * many
    raw = io.BytesIO(data.encode())
    size = raw.getbuffer().nbytes
    del data
    tracemalloc.start()
    try:
        count = sum(1 for _ in documents(raw, kind, "f", encoding="utf-8"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == many
    assert size > 8_000_000
    assert peak < 10_000_000


def test_parquet_reads_in_batches() -> None:
    rows = [f"문서 {i}" for i in range(2000)]
    table = pa.table({"text": pa.array(rows).dictionary_encode(), "n": list(range(2000))})
    pieces = run(parquet(table, row_group_size=700), "parquet")
    assert [piece.text for piece in pieces] == rows
    assert pieces[1234].source == "f:1235"


# Real data


@needs_data
def test_python_docs() -> None:
    data = (DATA / "python_docs_ko.jsonl").read_bytes()
    records = [json.loads(line)["document"] for line in data.decode().splitlines()]
    want = [unicodedata.normalize("NFC", text) for text in records]
    assert want != records  # one document of the real data is not NFC
    assert len(want) == 426
    assert text_of(data, "jsonl") == want


@needs_data
def test_chatbot() -> None:
    data = (DATA / "chatbot_ko.csv").read_bytes()
    want = [row["A"] for row in csv.DictReader(io.StringIO(data.decode()))]
    assert text_of(data, "csv", "A") == want
