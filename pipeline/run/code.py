"""Which project code a stage computes with, found from its imports; the code part of the work store's key.

DVC's ``deps`` name every imported file. The key is finer: comments and docstrings do not count, ``pipeline.run`` does not
(it moves results, it does not compute them), and of a table of implementations (``{"name": "module:function"}``) only the
chosen entry counts, so that adding an encoder costs nobody a training.
"""

import ast
import hashlib
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

PACKAGES = ("pipeline", "stages", "models")
NOT_COMPUTING = ("pipeline.run",)
_ENTRY = re.compile(r"^[\w.]+:\w+$")


def imported_modules(root: Path, modules: Iterable[str]) -> set[str]:
    """All project modules that ``modules`` import, directly or not, themselves included (dotted names)."""
    found: set[str] = set()
    queue = list(modules)
    while queue:
        name = queue.pop()
        if name in found or _file(root, name) is None:
            continue
        found.add(name)
        parts = name.split(".")
        queue += [".".join(parts[:end]) for end in range(1, len(parts))]
        queue += _imports(str(_file(root, name)), str(root))
    return found


def code_digest(root: Path, modules: Iterable[str]) -> str:
    """Digest of the computing code behind ``modules`` (dotted names, or ``module:function`` table entries)."""
    names = imported_modules(root, [name.partition(":")[0] for name in modules])
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(names):
        if any(name == skip or name.startswith(f"{skip}.") for skip in NOT_COMPUTING):
            continue
        digest.update(f"{name}\0{_meaning(str(_file(root, name)))}\0".encode())
    return digest.hexdigest()


def _file(root: Path, module: str) -> Path | None:
    parts = module.split(".")
    if parts[0] not in PACKAGES:
        return None
    base = root.joinpath(*parts)
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


@cache
def _imports(file: str, root: str) -> list[str]:
    names: list[str] = []
    for node in ast.walk(ast.parse(Path(file).read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.append(node.module)
            # `from package import name` may name a submodule.
            names += [
                f"{node.module}.{alias.name}"
                for alias in node.names
                if _file(Path(root), f"{node.module}.{alias.name}") is not None
            ]
    return [name for name in names if name.split(".")[0] in PACKAGES]


@cache
def _meaning(file: str) -> str:
    """The module's syntax tree as text, without docstrings, comments, tables of entries and lists of allowed values."""
    tree = ast.parse(Path(file).read_text())
    tree.body = [node for node in tree.body if not _is_table(node)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            # Any bare string statement documents; it computes nothing.
            node.body = [
                part for part in node.body if not (isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant))
            ] or [ast.Pass()]
        elif isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == "Literal":
            # What a parameter may be computes nothing; what it is stands in the key beside the code.
            node.slice = ast.Constant(None)
    return ast.dump(tree)


def _is_table(node: ast.stmt) -> bool:
    value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
    return (
        isinstance(value, ast.Dict)
        and bool(value.values)
        and all(
            isinstance(item, ast.Constant) and isinstance(item.value, str) and _ENTRY.match(item.value)
            for item in value.values
        )
    )
