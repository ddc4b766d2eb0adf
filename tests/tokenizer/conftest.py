"""One small Korean and English text, and each kind of tokenizer trained on it."""

import io
import json
from pathlib import Path

import pytest

from malmoi.tokenizer import KINDS, Tokenizer, train_tokenizer

DATA = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"

SAMPLE = """말모이는 현대 한국어의 첫 사전이다. 말을 모은다는 뜻이다.
우리는 글을 모아서 작은 언어 모델을 만든다. 한국어가 먼저이고, 다른 말도 된다!
The first dictionary of modern Korean gathered words; don't forget 1,234 of them.
  def gather(words):\n\treturn {word: len(word) for word in words}  # 말을 모은다

"말이 오르면 나라도 오른다" - 주시경 (1876-1914) 말모이, 말모이, 말모이.
"""

HARD = [
    "",
    " ",
    "  two  spaces  ",
    "\n\n a\t\r\nb\r\n\r\n",
    "뷁쀍 \U0001f600\U0001f468‍\U0001f469‍\U0001f467 \u1112\u1161\u11ab\u1100\u1173\u11af 각",
    "\x00\x01\x7f\x80\ufeff\ufffd\ue000\U0010ffff",
    "<|bos|><|eos|> <|pad|><|unk|> <s></s> <unk> <0x41><0xEA><|endoftext|>",
    "▁a▁ ĠbĊ ␣",
    "don't ’tis 12345678 3.14 ㅋㅋㅋㅋ ...!!!\n?",
    "\u00a0\u3000\u2028\u0085\u200b|\x1c\x1d",
]


@pytest.fixture(scope="session")
def sample() -> str:
    return SAMPLE


@pytest.fixture(scope="session")
def trained() -> dict[str, Tokenizer]:
    sizes = {"bytebpe": 300, "unigram": 400, "bpe": 400}
    return {kind: train_tokenizer([SAMPLE] * 3, kind, sizes.get(kind)) for kind in KINDS}


@pytest.fixture(scope="session")
def all_kinds(trained, tmp_path_factory) -> dict[str, Tokenizer]:
    """The kinds trained here, and a SentencePiece model, which drops the first space."""
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SAMPLE.split("\n")),
        model_writer=model,
        vocab_size=420,
        byte_fallback=True,
        minloglevel=2,
        hard_vocab_limit=False,
    )
    path = tmp_path_factory.mktemp("sentencepiece") / "tokenizer.model"
    path.write_bytes(model.getvalue())
    return {**trained, "sentencepiece": Tokenizer.load(path)}


@pytest.fixture(scope="session")
def hard() -> list[str]:
    return HARD


def _need(name: str) -> Path:
    path = DATA / name
    if not path.is_file():
        pytest.skip(f"{name} is not at ../shared/data")
    return path


@pytest.fixture(scope="session")
def shakespeare() -> str:
    return _need("tinyshakespeare.txt").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def korean() -> list[str]:
    lines = _need("python_docs_ko.jsonl").read_text(encoding="utf-8").split("\n")[:40]
    return [json.loads(line)["document"][:20_000] for line in lines]


@pytest.fixture(scope="session")
def gpt2_vocab() -> Path:
    _need("gpt2_merges.txt")
    return _need("gpt2_vocab.json")
