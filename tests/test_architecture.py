"""The rules of the house, as data: who may import whom, what is named where, how long a file may be."""

import ast
import fnmatch
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OURS = ("pipeline", "stages", "models")

# Commands: they bring everything together, and nothing but another door imports them.
DOORS = ("pipeline.cli", "pipeline.__main__", "pipeline.flow", "pipeline.commands", "pipeline.bench")

# Who may import whom inside the project (each may import itself). Doors may import anything.
MAY_IMPORT = {
    "pipeline.run": (),
    "pipeline.video": ("pipeline.run",),
    "pipeline.datasets": ("pipeline.run", "pipeline.video"),
    "pipeline.evaluation": ("pipeline.run", "pipeline.datasets"),
    "pipeline.training": ("pipeline.run", "pipeline.video", "pipeline.datasets", "pipeline.evaluation"),
    "pipeline.report": ("pipeline.run", "pipeline.video", "pipeline.datasets", "pipeline.evaluation"),
    "models": (),
    "stages": (
        "pipeline.run", "pipeline.video", "pipeline.datasets", "pipeline.evaluation", "pipeline.training",
        "pipeline.report", "models",
    ),
}  # fmt: skip

# What they must not even reach through others.
NEVER_REACH = {
    "pipeline.run": ("torch", "av", "cv2"),
    "pipeline.video": ("torch", "mlflow"),
    "pipeline.datasets": ("torch", "mlflow"),
    "pipeline.evaluation": ("torch", "mlflow"),
    "pipeline.training": ("pydantic", "mlflow", "av", "rich", "psutil"),
}

# All that they may import from outside the standard library.
ONLY_LIBRARIES = {"models": {"torch", "torchvision", "safetensors", "detectron2"}}

# Libraries that one file names.
NAMED_IN_ONE_FILE = {
    "h5py": "pipeline.run.artifacts",
    "mlflow": "pipeline.run.tracking",
    "prefect": "pipeline.flow",
    "ray": "pipeline.run.ray_executor",
    "detectron2": "models.detectors.detectron",
    "trackers": "pipeline.video.online_tracks",
}

# What must import where only these libraries are installed (a GPU machine without the rest), and what is then missing.
LIGHT_MACHINE = ("models", "pipeline.training", "pipeline.datasets.world")
NOT_ON_A_LIGHT_MACHINE = (
    "pydantic", "mlflow", "prefect", "av", "rich", "psutil", "dvc", "scenedetect", "scipy", "matplotlib", "jinja2",
    "simplejpeg",
)  # fmt: skip

MOST_LINES = {"pipeline/**.py": 400, "models/**.py": 400, "tests/**.py": 400, "stages/*.py": 200}
MOST_BYTES = 1 << 20
STUBS = ("TODO", "FIXME", "XXX", "NotImplementedError", "NotImplemented\n")


def inside(module: str, packages: Iterable[str]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


@cache
def modules() -> dict[str, Path]:
    """Every module of the project by dotted name."""
    found = {}
    for package in OURS:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def imports(module: str) -> frozenset[str]:
    """Modules that ``module`` imports, wherever in the file (``from package import name``: the module, if it is one)."""
    found = set()
    for node in ast.walk(ast.parse(modules()[module].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module}: a relative import; the work store's key follows absolute ones only"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {name if name in modules() else str(node.module) for name in names}
    return frozenset(found)


def reach(module: str) -> set[str]:
    """All that is imported with ``module``, directly or not."""
    found: set[str] = set()
    queue = [module]
    while queue:
        name = queue.pop()
        if name not in found:
            found.add(name)
            queue += imports(name) if name in modules() else ()
    return found


def test_the_rules_speak_of_modules_that_exist() -> None:
    assert len(modules()) > 40
    for package in MAY_IMPORT:
        assert any(inside(module, [package]) for module in modules()), package
    for module in modules():
        if modules()[module].name != "__init__.py":
            assert inside(module, [*MAY_IMPORT, *DOORS]), f"{module}: no rule says what it may import"


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_go_one_way(package: str) -> None:
    for module in modules():
        if inside(module, [package]):
            ours = {name for name in imports(module) if inside(name, OURS)}
            wrong = {name for name in ours if not inside(name, [package, *MAY_IMPORT[package]])}
            assert not wrong, f"{module} imports {sorted(wrong)}; {package} may import {MAY_IMPORT[package]}"


def test_nothing_imports_a_door() -> None:
    for module in modules():
        if not inside(module, DOORS):
            assert not [name for name in imports(module) if inside(name, DOORS)], module


@pytest.mark.parametrize("package", NEVER_REACH)
def test_what_a_package_must_not_reach(package: str) -> None:
    for module in modules():
        if inside(module, [package]):
            for name in reach(module):
                assert not inside(name, NEVER_REACH[package]) or name in NAMED_IN_ONE_FILE, f"{module} reaches {name}"


@pytest.mark.parametrize("package", ONLY_LIBRARIES)
def test_libraries_of_a_package(package: str) -> None:
    for module in modules():
        if inside(module, [package]):
            outside = {name.split(".")[0] for name in imports(module)} - {*OURS, *sys.stdlib_module_names}
            assert outside <= ONLY_LIBRARIES[package], module


@pytest.mark.parametrize("library", NAMED_IN_ONE_FILE)
def test_a_library_is_named_in_one_file(library: str) -> None:
    users = {module for module in modules() if any(inside(name, [library]) for name in imports(module))}
    assert users <= {NAMED_IN_ONE_FILE[library]}


def test_models_training_and_world_import_on_a_light_machine() -> None:
    wanted = [module for module in modules() if inside(module, LIGHT_MACHINE) and not module.endswith("__main__")]
    code = f"""
import importlib, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {NOT_ON_A_LIGHT_MACHINE!r}:
            raise ModuleNotFoundError(f"{{name}} is not on a light machine")
sys.meta_path.insert(0, Absent())
for name in {wanted!r}:
    importlib.import_module(name)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def tracked() -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"needs a git checkout: {done.stderr.strip()}")
    return [path for name in done.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def test_a_file_has_one_subject() -> None:
    for path in [*modules().values(), *(ROOT / "tests").rglob("*.py")]:
        name, lines = path.relative_to(ROOT).as_posix(), len(path.read_text().splitlines())
        most = next(most for pattern, most in MOST_LINES.items() if fnmatch.fnmatch(name, pattern))
        assert lines <= most, f"{name} has {lines} lines, more than {most}: a sign that it has two subjects"


def test_git_holds_no_large_file() -> None:
    large = [path for path in tracked() if path.stat().st_size > MOST_BYTES]
    assert not large, f"over {MOST_BYTES} bytes, a matter for DVC: {large}"


def test_nothing_is_left_to_be_written() -> None:
    for path in modules().values():
        for stub in STUBS:
            assert stub not in path.read_text(), f"{path}: {stub.strip()}"


def test_the_run_package_stays_empty() -> None:
    """So that training can import pipeline.run.files on a light machine."""
    assert (ROOT / "pipeline" / "run" / "__init__.py").read_text() == ""
