"""dvc.yaml, params.yaml, recipes and data sets against the code they stand for."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.datasets.definition import load_definition
from pipeline.run import launch
from pipeline.run.code import _file, _is_table, imported_modules
from pipeline.run.params import PARAMS_FILE, check_params, read_params
from pipeline.run.stage import DatasetStage, VideoStage, find_stage, section_models, stage_names

ROOT = Path(__file__).resolve().parent.parent
GRAPH: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
CODE = ("pipeline", "stages", "models")


def plain(entries: list[Any]) -> list[str]:
    """Paths of ``outs`` or ``metrics``, whose entries may carry options."""
    return [next(iter(entry)) if isinstance(entry, dict) else entry for entry in entries]


def variants(name: str) -> list[str]:
    """Values of the stage's matrix, or one empty string."""
    matrix = GRAPH[name].get("matrix")
    assert matrix is None or len(matrix) == 1, f"{name}: one matrix key, so that a stage is called {name}@VALUE"
    return next(iter(matrix.values())) if matrix else [""]


FOLLOWS_HEAD = "data/artifacts/${head.beside}"
"""The one dep that a parameter chooses."""


def filled(name: str, text: str, variant: str) -> str:
    """``text`` with the matrix value in place of ``${item.<key>}``."""
    for key in GRAPH[name].get("matrix", {}):
        text = text.replace(f"${{item.{key}}}", variant)
    return text


def declared_outs(stage: VideoStage | DatasetStage, variant: str) -> set[str]:
    patterns = [stage.out] if isinstance(stage, VideoStage) else stage.outs.values()
    return {pattern.format(variant=variant) for pattern in patterns}


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def table_entries(path: Path) -> Iterator[str]:
    """Modules that the tables (``{"name": "module:function"}``) of a file name."""
    for node in parsed(path).body:
        if _is_table(node):
            assert isinstance(node, ast.Assign | ast.AnnAssign)
            assert isinstance(node.value, ast.Dict)
            yield from (ast.literal_eval(value).partition(":")[0] for value in node.value.values)


def needed_modules(name: str) -> dict[str, Path]:
    """All that a stage imports, directly, later or by choice from a table; files without a statement left out."""
    names: set[str] = set()
    wanted = {f"stages.{name}"}
    while wanted - names:
        names = imported_modules(ROOT, wanted)
        wanted = names | {entry for module in names for entry in table_entries(path_of(module))}
    return {
        module: path_of(module).relative_to(ROOT)
        for module in names
        if any(not isinstance(node, ast.Expr) for node in parsed(path_of(module)).body)
    }


def path_of(module: str) -> Path:
    path = _file(ROOT, module)
    assert path is not None, f"{module}: no such module"
    return path


def test_graph_and_stages_are_the_same_set() -> None:
    assert set(GRAPH) == set(stage_names())


@pytest.mark.parametrize("name", GRAPH)
def test_code_deps_cover_what_the_stage_imports(name: str) -> None:
    deps = [Path(dep) for dep in GRAPH[name]["deps"] if dep.split("/")[0] in CODE]
    needed = needed_modules(name)
    missing = sorted(str(p) for p in needed.values() if not any(p == dep or dep in p.parents for dep in deps))
    assert not missing, f"{name} imports files that its deps in dvc.yaml do not cover: {missing}"
    idle = [str(dep) for dep in deps if not any(p == dep or dep in p.parents for p in needed.values())]
    assert not idle, f"{name} names deps that it does not import: {idle}"
    assert all((ROOT / dep).exists() for dep in deps)


@pytest.mark.parametrize("name", GRAPH)
def test_outs_command_and_metrics_are_those_of_the_stage(name: str) -> None:
    stage, entry = find_stage(name), GRAPH[name]
    assert stage.name == name
    assert tuple(variants(name)) == (stage.variants or ("",))
    for variant in variants(name):
        outs = {filled(name, out, variant) for out in plain(entry["outs"])}
        # A stage that is never taken from the work store writes its outputs itself.
        assert outs == declared_outs(stage, variant) or getattr(stage, "always", False)
        assert filled(name, entry["cmd"], variant).split() == [*f"python -m stages.{name}".split(), *variant.split()]
        metrics = [filled(name, path, variant) for path in plain(entry.get("metrics", []))]
        label = f"{name}@{variant}" if variant else name
        assert metrics in ([f"reports/metrics/{label}.json"], []), f"{name}: no such metrics file is written"
        assert metrics or name == "report"
    # Kept out of DVC's cache, so that a metrics file does not make a cached stage look changed.
    assert all(options == {"cache": False} for metric in entry.get("metrics", []) for options in metric.values())


@pytest.mark.parametrize("name", GRAPH)
def test_params_are_those_that_the_stage_reads(name: str) -> None:
    stage, params = find_stage(name), GRAPH[name].get("params", [])
    own = [name] if stage.section.model_fields else []
    for path in (*own, *stage.reads_params):
        assert any(path == param or path.startswith(f"{param}.") for param in params), f"{name}: params lack {path}"
    for param in params:
        wanted = (*own, *stage.reads_params)
        assert any(path == param or path.startswith(f"{param}.") for path in wanted), f"{name}: reads no {param}"
    assert "run" not in params, "how work runs changes no result"


def test_every_data_dep_is_made_by_a_stage_or_given() -> None:
    made = {
        filled(name, path, variant)
        for name, entry in GRAPH.items()
        for path in plain([*entry["outs"], *entry.get("metrics", [])])
        for variant in variants(name)
    }
    given = ("data/datasets/", "data/raw/")
    for name, entry in GRAPH.items():
        for variant in variants(name):
            deps = {filled(name, dep, variant) for dep in entry["deps"]}
            chosen = {"data/artifacts/videos", "data/artifacts/bank"}  # of head.beside
            for dep in deps - {FOLLOWS_HEAD} | (chosen if FOLLOWS_HEAD in deps else set()):
                path = Path(dep)
                if path.parts[0] in CODE or dep == PARAMS_FILE or dep.startswith(given):
                    continue
                inside = any(str(parent) in made for parent in (path, *path.parents))
                around = any(path in Path(out).parents for out in made)
                assert inside or around, f"{name}: no stage makes {dep}"


def test_params_file_is_valid() -> None:
    check_params(read_params(ROOT / PARAMS_FILE), section_models(), PARAMS_FILE)


@pytest.mark.parametrize("recipe", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_is_valid_over_params(recipe: Path) -> None:
    overlay = read_params(recipe)
    assert overlay, f"{recipe} changes nothing"
    check_params(launch.merge(read_params(ROOT / PARAMS_FILE), overlay), section_models(), str(recipe))


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "data" / "datasets").glob("*.yaml")))
def test_every_data_set_definition_loads(name: str) -> None:
    assert load_definition(ROOT, name).name == name


def test_the_data_set_of_params_exists() -> None:
    assert (ROOT / "data" / "datasets" / f"{read_params(ROOT / PARAMS_FILE)['ingest']['dataset']}.yaml").is_file()


def test_dvc_reads_the_graph() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).parent / "dvc"), "stage", "list", "--name-only"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert {line.partition("@")[0] for line in done.stdout.splitlines()} == set(GRAPH)
