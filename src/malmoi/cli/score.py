"""`malmoi score RUN TEXT...`: how probable a model finds texts that are there already."""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from malmoi.cli.flags import need
from malmoi.config import Precision

if TYPE_CHECKING:
    from malmoi.model import GPT
    from malmoi.tokenizer import Tokenizer


@dataclass(frozen=True)
class Args:
    """The log-probability of texts, each behind <bos>, without an end."""

    run: Annotated[Path, tyro.conf.Positional]
    """the run folder"""
    text: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="TEXT...")] = ()
    """the texts"""
    file: str | None = None
    """file of texts, one a line; .jsonl: keys prompt or text; - is stdin"""
    tokens: bool = False
    """tell each token and its log-probability"""
    top: int = 0
    """with --tokens: its rank, and the N most probable tokens at its place"""
    device: str = "auto"
    """auto, cpu, cuda or mps"""
    precision: Precision = "fp32"
    """auto, fp32 or bf16"""
    json: bool = False
    """print the result as one JSON object"""


def run(args: Args) -> dict[str, Any]:
    """Score, and print a table."""
    need("top", args.top, args.top >= 0, "0 or more")
    if args.top and not args.tokens:
        raise ValueError(f"--top {args.top}: belongs to --tokens")

    from malmoi.cli.output import token_table
    from malmoi.cli.progress import Progress
    from malmoi.cli.prompts import read_texts
    from malmoi.cli.speak import open_run
    from malmoi.speak import TokenScore

    texts = [*args.text, *(read_texts(args.file) if args.file else [])]
    if not texts:
        raise ValueError("no text to score: give TEXT, or --file F")
    _, model, tokenizer = open_run(args.run, args.device, args.precision)
    size = model.config.vocab_size
    need("top", args.top, args.top <= size, f"from 0 to {size}, the size of the vocabulary")
    ids = tokenizer.encode_batch(texts, bos=True)
    results = []
    if not args.json:
        print(f"{'bits':>12}{'bits/byte':>12}{'perplexity':>14}{'tokens':>10}  text")
    with Progress("scoring", len(texts)) as progress:
        for number, (text, one) in enumerate(zip(texts, ids, strict=True)):
            progress.update(number)
            results.append(_score(args, model, tokenizer, text, one))
            if not args.json:
                progress.clear()
                print(_row(results[-1]), flush=True)
                if args.tokens:
                    scores = [
                        TokenScore(t["id"], t["token"], t["logprob"])
                        for t in results[-1]["token_scores"]
                    ]
                    top = [
                        [TokenScore(**best) for best in t["top"]]
                        for t in results[-1]["token_scores"]
                        if args.top
                    ]
                    print("\n".join([*token_table(scores, top), ""]), flush=True)
    return {"texts": results}


def _score(
    args: Args, model: "GPT", tokenizer: "Tokenizer", text: str, ids: list[int]
) -> dict[str, Any]:
    from malmoi.cli.output import rank
    from malmoi.decode.score import score
    from malmoi.speak import TokenScore

    found = score(model, ids, top=args.top)
    logprobs = [logprob for logprob in found.logprobs if logprob is not None]
    total, size = math.fsum(logprobs), len(text.encode())
    bits = abs(total) / math.log(2)  # no log-probability is above 0, and no text costs -0 bits
    result: dict[str, Any] = {
        "text": text,
        "tokens": len(logprobs),
        "bytes": size,
        "logprob": total,
        "bits": bits,
        "bits_per_byte": bits / size if size else None,
        "perplexity": _perplexity(total, len(logprobs)),
    }
    if args.tokens:
        own = TokenScore.all(tokenizer, zip(ids, found.logprobs, strict=True))
        result["token_scores"] = []
        for place, one in enumerate(own):
            entry = asdict(one)
            if args.top:
                best = TokenScore.all(tokenizer, found.top[place])
                entry |= {"rank": rank(one, best), "top": [asdict(other) for other in best]}
            result["token_scores"].append(entry)
    return result


def _perplexity(total: float, tokens: int) -> float | None:
    """None where it is no number: of no tokens, or too large for one."""
    try:
        return math.exp(-total / tokens) if tokens else None
    except OverflowError:
        return None


def _row(result: dict[str, Any]) -> str:
    cells = [("bits", 12, 2), ("bits_per_byte", 12, 4), ("perplexity", 14, 4)]
    row = "".join(
        f"{'-':>{width}}" if result[name] is None else f"{result[name]:>{width},.{digits}f}"
        for name, width, digits in cells
    )
    text = " ".join(result["text"].split())
    return f"{row}{result['tokens']:>10,}  {text if len(text) <= 60 else text[:59] + '…'}"
