"""The tiers of docs/design.md: a module imports only from strictly lower ones."""

import ast
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "malmoi"

# A folder counts as one unit.
TIERS = {
    "config": 0, "mixing": 0, "ranks": 0,
    "packing": 1, "shards": 1, "storage": 1, "text": 1, "tokenizer": 1, "model": 1, "optim": 1,
    "schedules": 1,
    "checkpoint": 2, "data": 2, "run": 2, "decode": 2, "sharding": 2,
    "adapt": 3, "train": 3, "evaluate": 3, "hub": 3, "inspect": 3, "speak": 3,
    "serve": 4,
    "cli": 5,
    "__main__": 6,
}  # fmt: skip

# Heavy or optional packages, and the only units that may import them when they are imported.
ONLY = {
    "datasets": set(), "jinja2": set(), "llguidance": set(), "matplotlib": set(),
    "sentencepiece": set(), "transformers": set(), "tyro": {"cli"},
}  # fmt: skip


def unit(path: Path) -> str:
    first = path.relative_to(SOURCE).parts[0]
    return first.removesuffix(".py")


def imported(tree: ast.AST) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names.add(node.module or "")
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_imports_go_down_only() -> None:
    wrong = []
    for path in SOURCE.rglob("*.py"):
        mine = unit(path)
        if mine == "__init__":
            continue
        for name in imported(ast.parse(path.read_text("utf-8"))):
            parts = name.split(".")
            if parts[0] != "malmoi" or len(parts) < 2 or parts[1] not in TIERS:
                continue
            other = parts[1]
            if other != mine and TIERS[other] >= TIERS[mine]:
                wrong.append(f"{path.relative_to(SOURCE)} imports malmoi.{other}")
    assert not wrong


def test_every_module_has_a_tier() -> None:
    units = {unit(path) for path in SOURCE.rglob("*.py")} - {"__init__"}
    assert units <= set(TIERS)


def test_optional_packages_are_not_imported_with_the_module() -> None:
    wrong = []
    for path in SOURCE.rglob("*.py"):
        for node in ast.parse(path.read_text("utf-8")).body:
            for name in imported(node) if isinstance(node, ast.Import | ast.ImportFrom) else ():
                package = name.split(".")[0]
                if package in ONLY and unit(path) not in ONLY[package]:
                    wrong.append(f"{path.relative_to(SOURCE)} imports {package}")
    assert not wrong


def test_files_are_short_and_say_what_they_are_for() -> None:
    for path in SOURCE.rglob("*.py"):
        text = path.read_text("utf-8")
        assert ast.get_docstring(ast.parse(text)), path
        assert text.count("\n") <= 350, path
