"""`malmoi clean DATA... --out DIR`: text as people have it in, text to train on out."""

import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from malmoi.cli.language import Asked, Language, choose_language
from malmoi.cli.main import BEGAN, command, print_json
from malmoi.text.quality import Filters
from malmoi.text.writer import Format

PROBLEMS = 20
"""of them are printed; all are in report.html"""


@dataclass(frozen=True)
class Args:
    """Make text right, leave out what is there twice or no text, and tell what was done.

    DATA: files, folders, globs, https://, hf://. Nothing stops it: what cannot be read is skipped
    and named. Exit code 0: all was read; 1: something was not, the rest is in --out.
    """

    data: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="DATA...")]
    """what to clean"""
    out: Path
    """the folder to make: shards, and report.html, which holds what --json prints, too"""
    overwrite: bool = False
    """replace a folder that malmoi clean made before"""
    json: bool = False
    """print the report as one JSON object"""
    lang: Asked = "auto"
    """language of report.html and of the tags for personal data"""
    field: str | None = None
    """column or key that holds the text"""
    encoding: str | None = None
    """character encoding of all files; found for each, and where it must be for each line, if not
    given"""
    format: Format = "jsonl"
    """jsonl (compressed by zstd) or parquet"""
    shard_megabytes: int = 256
    """text in a shard, before compression"""
    split: str | None = None
    """train/validation/test in per cent: a file for each, near-duplicates on one side; all in one
    if not given"""
    seed: int = 0
    """of the split"""
    only: tuple[str, ...] = ()
    """Unicode rules to apply, instead of those that are on by default"""
    also: tuple[str, ...] = ()
    """rules to apply besides: fullwidth ones, say"""
    without: tuple[str, ...] = ()
    """steps to leave out: names of rules, or mojibake"""
    personal: tuple[str, ...] = ()
    """mask personal data: kinds of it, or all"""
    near: float = 0.8
    """drop documents at least so similar to an earlier one (0.5 to 1); 0: none"""
    paragraphs: bool = False
    """take out paragraphs that are so similar to one of an earlier document, too"""
    boilerplate: bool = False
    """take out lines that stand in many documents, such as menus; all is read once more for that"""
    workers: int | None = None
    """processes; as many as there are cores if not given"""
    filters: Filters = Filters()


def run(args: Args) -> None:
    """Clean, and say what came of it."""
    from malmoi.cli.progress import Progress
    from malmoi.inspect.clean_report import to_html
    from malmoi.text.writer import new_folder

    language = choose_language(args.lang)
    settings = _settings(args, language)
    with (
        Progress("cleaning", quiet=args.json and not sys.stderr.isatty()) as progress,
        new_folder(args.out, args.overwrite) as folder,
    ):
        report = _clean(args, settings, folder, progress)
        report["out"] = str(args.out)
        report["seconds"] = round(time.monotonic() - BEGAN, 2)
        (folder / "report.html").write_text(to_html(report, language), "utf-8")
    if args.json:
        print_json(report)
    else:
        _print(report, language)
    if report["problems"]:
        sys.stdout.flush()
        raise SystemExit(1)


SAID = {
    "ko": {
        "kept": (
            "문서 {read:,}개를 읽어 {kept:,}개를 남겼습니다: 글 {bytes:,} 바이트, {seconds:.1f}초"
        ),
        "dropped": "  버림  {count:>9,}  {name}",
        "step": "  고침  {documents:>9,}  {name} (글자 {characters:,}개)",
        "overlap": "  {name}: 학습 쪽에도 있는 대목 {share:.2%}",
        "problem": "읽지 못함: {text}",
        "more": "읽지 못한 것이 {count:,}개 더 있습니다: report.html을 보세요",
        "where": "{out}에 있습니다; report.html을 열어 보세요. 다음:",
    },
    "en": {
        "kept": "{read:,} documents read, {kept:,} kept: {bytes:,} bytes of text, {seconds:.1f} s",
        "dropped": "  dropped  {count:>9,}  {name}",
        "step": "  mended   {documents:>9,}  {name} ({characters:,} characters)",
        "overlap": "  {name}: {share:.2%} of its passages are in train, too",
        "problem": "not read: {text}",
        "more": "{count:,} more could not be read: see report.html",
        "where": "it is in {out}; open report.html. Next:",
    },
}


def _print(report: dict[str, Any], language: Language) -> None:
    said = SAID[language]
    print(
        said["kept"].format(**report["documents"], **{n: report[n] for n in ("bytes", "seconds")})
    )
    for name, count in sorted(report["dropped"].items(), key=lambda pair: -pair[1]):
        print(said["dropped"].format(name=name, count=count))
    for name, step in report["steps"].items():
        if not name.startswith("filter:") and name not in report["dropped"]:
            print(said["step"].format(name=name, **step))
    for name, found in report["overlap"].items():
        print(said["overlap"].format(name=name, share=found["share"]))
    problems = [f"{file['name']}: {one}" for file in report["files"] for one in file["problems"]]
    for text in problems[:PROBLEMS]:
        print(said["problem"].format(text=text), file=sys.stderr)
    if len(problems) > PROBLEMS:
        print(said["more"].format(count=len(problems) - PROBLEMS), file=sys.stderr)
    print(said["where"].format(out=report["out"]))
    print(f"  {command()} train {report['out']} --out my-model")


def _settings(args: Args, language: Language) -> Any:
    from malmoi.text import personal, rules
    from malmoi.text.clean import Steps
    from malmoi.text.encoding import check_encoding

    known = {*rules.RULES, "mojibake"}
    for flag, names in (("only", args.only), ("also", args.also), ("without", args.without)):
        for name in names:
            if name not in known:
                raise ValueError(
                    f"--{flag} {name}: not a step; there are {', '.join(sorted(known))}"
                )
    chosen = args.only or tuple(name for name, rule in rules.RULES.items() if rule.default)
    wanted = {*chosen, *args.also} - set(args.without)
    kinds = tuple(personal.KINDS) if "all" in args.personal else args.personal
    for kind in kinds:
        if kind not in personal.KINDS:
            raise ValueError(
                f"--personal {kind}: not known; there are all, {', '.join(personal.KINDS)}"
            )
    if args.encoding is not None:
        check_encoding(args.encoding)
    if args.near and not 0.5 <= args.near <= 1:
        raise ValueError(f"--near {args.near:g}: give 0.5 to 1, or 0 for none")
    if args.shard_megabytes < 1:
        raise ValueError(f"--shard-megabytes {args.shard_megabytes}: has to be 1 or more")
    if args.workers is not None and args.workers < 1:
        raise ValueError(f"--workers {args.workers}: has to be 1 or more")
    return Steps(
        rules=tuple(name for name in rules.RULES if name in wanted),
        mojibake="mojibake" not in args.without and (not args.only or "mojibake" in args.only),
        personal=kinds, language=language, filters=args.filters,
        near=bool(args.near) or args.split is not None, paragraphs=args.paragraphs,
        lines=not args.paragraphs and (args.format == "jsonl" or args.split is not None),
    )  # fmt: skip


def _clean(args: Args, steps: Any, folder: Path, progress: Any) -> dict[str, Any]:
    from malmoi.text.clean import count_lines
    from malmoi.text.gather import Gatherer, Output
    from malmoi.text.intake import Reader
    from malmoi.text.sources import downloaded
    from malmoi.text.split import Split

    split = None if args.split is None else Split.parse(args.split)
    most = args.shard_megabytes * 1_000_000
    output = Output(folder, args.format, most, split, args.seed)
    gatherer = Gatherer(output, args.near, args.paragraphs)
    done = 0

    def hear(count: int) -> None:
        nonlocal done
        done += count
        progress.update(done, f"{done / 1e6:,.0f} MB, {gatherer.total.kept:,} documents kept")

    reader = Reader(args.field, args.encoding, hear)
    with downloaded(args.data) as sources:
        progress.total = sum(map(_size, sources)) or 0
        names = dict(zip(sources, args.data, strict=True))
        lines = None
        if args.boilerplate:
            progress.label = "counting lines"
            lines = count_lines(Reader(args.field, args.encoding, hear).batches(sources), steps)
            progress.label, done = "cleaning", 0
        batches = reader.batches(sources)
        for batch, (cleaned, parsed) in _work(batches, steps, lines, args.workers):
            gatherer.take(cleaned, batch.file)
            gatherer.drop(batch.file, "unreadable", len(parsed.dropped))
            if parsed.dropped or parsed.mended:
                file = next(one for one in reversed(reader.files) if one.name == batch.file)
                file.problems += [*parsed.dropped, *parsed.mended]
    progress.label = "dealing out" if split else "writing"
    gatherer.finish()
    return _report(gatherer, reader, names)


def _work(batches: Any, steps: Any, lines: Any, workers: int | None) -> Any:
    """Each batch with what came of it, in order, made on all cores, a few of them ahead."""
    import multiprocessing
    import os
    from collections import deque
    from concurrent.futures import Future, ProcessPoolExecutor

    from malmoi.text.clean import prepare, work

    many = workers or len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else workers
    many = many or os.cpu_count() or 1
    if many == 1:
        prepare(lines)
        for batch in batches:
            yield batch, work(batch, steps)
        return
    # A fresh interpreter each: what is forked may hold locks of threads that are not there.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(many, context, prepare, (lines,)) as pool:
        waiting: deque[tuple[Any, Future[Any]]] = deque()
        for batch in batches:
            waiting.append((batch, pool.submit(work, batch, steps)))
            if len(waiting) > many + 1:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()


def _size(source: str) -> int:
    path = Path(source)
    if path.is_dir():
        return sum(one.stat().st_size for one in path.rglob("*") if one.is_file())
    return path.stat().st_size if path.is_file() else 0


def _report(gatherer: Any, reader: Any, names: dict[str, str]) -> dict[str, Any]:
    from malmoi.text.gather import Count

    total = gatherer.total
    files = []
    for file in reader.files:
        count = gatherer.files.get(file.name, Count())
        files.append(
            {
                "name": names.get(file.name, file.name), "encoding": file.encoding,
                "confidence": file.confidence, "read": count.read, "kept": count.kept,
                "dropped": dict(count.dropped), "problems": file.problems,
            }
        )  # fmt: skip
    return {
        "documents": {"read": total.read, "kept": total.kept},
        "dropped": dict(total.dropped),
        "steps": {name: asdict(tally) for name, tally in sorted(gatherer.tallies.items())},
        "overlap": gatherer.overlap,
        "files": files,
        "problems": sum(len(file["problems"]) for file in files),
        "shards": [name for writer in gatherer.writers for name in writer.names],
        "parts": {writer.part: writer.documents for writer in gatherer.writers},
        "bytes": sum(writer.bytes for writer in gatherer.writers),
    }
