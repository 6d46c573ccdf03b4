"""What happens around a stage's one function: checks, lock, work store, executor, progress, tracking, metrics.

Results live in the work store and are hard-linked into DVC's outputs at the end.
"""

import os
import resource
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.run.code import code_digest
from pipeline.run.device_lease import lease
from pipeline.run.executors import run_units
from pipeline.run.files import DiskFull, link_or_copy, write_json
from pipeline.run.params import PARAMS_FILE, ParameterError, RunSection, Section, check_params, flatten, read_params
from pipeline.run.process import EXIT_STOPPED, Stopped, end_with_parent, folder_lock, stop_on_signals, wait_passively
from pipeline.run.progress import StageProgress
from pipeline.run.stage import (
    FAILURES_FILE,
    Context,
    DatasetStage,
    Stage,
    StageError,
    Unit,
    VideoStage,
    find_stage,
    section_models,
)
from pipeline.run.store import ENTRY_FILE, Entry, Store, digest_inputs, make_key
from pipeline.run.tracking import Tracker


def main(name: str, arguments: Sequence[str] | None = None) -> None:
    """Run a stage as a process: ``python -m stages.<name> [variant]`` from the project's root.

    Exit status: 0 done, 1 failed for good, 75 stopped (start it again and it goes on).
    """
    stage = find_stage(name)
    words = list(sys.argv[1:] if arguments is None else arguments)
    root = Path.cwd()
    label = "@".join([name, *words])
    try:
        if len(words) != bool(stage.variants) or (stage.variants and words[0] not in stage.variants):
            raise StageError(f"python -m stages.{name} takes one of {stage.variants or '(nothing)'}, got {words}")
        sections = check_params(read_params(root / PARAMS_FILE), section_models(), PARAMS_FILE)
    except (StageError, ParameterError) as error:
        sys.exit(f"{label}: {error}")
    _warn_about_interpreter(root, label)
    wait_passively()
    stop_on_signals()
    end_with_parent()
    status = root / "data" / "work" / "status" / f"{label}.json"
    with StageProgress(label, status) as progress:
        try:
            message = run_stage(stage, words[0] if words else "", sections, root, progress)
            progress.finish("done", message)
        except (Stopped, KeyboardInterrupt) as stop:
            progress.finish("retry", f"stopped by {stop}; start it again and it goes on")
            sys.exit(EXIT_STOPPED)
        except DiskFull as error:
            progress.finish("retry", str(error))
            sys.exit(f"{label}: {error}")
        except (StageError, ParameterError, ValueError, OSError) as error:
            progress.finish("final", str(error))
            if os.environ.get("PIPELINE_TRACEBACKS"):
                raise
            sys.exit(f"{label}: {error}")
        except BaseException as error:
            progress.finish("final", f"{type(error).__name__}: {error}")
            raise


def run_stage(
    stage: VideoStage | DatasetStage, variant: str, sections: Mapping[str, Section], root: Path, progress: StageProgress
) -> str:
    """Run one stage in this process; returns a one-line summary. Raises StageError, DiskFull or what the stage raises."""
    run = sections["run"]
    assert isinstance(run, RunSection)
    shared = {path: _lookup(sections, path) for path in stage.reads_params}
    dataset = str(getattr(sections["ingest"], "dataset", "default"))
    tracker = Tracker(root, dataset, run.tracking)
    context = Context(root, sections[stage.name], variant, shared, progress, tracker.log)
    started = time.monotonic()
    try:
        if isinstance(stage, VideoStage):
            metrics, details = _run_videos(stage, context, run, tracker)
        else:
            metrics, details = _run_dataset(stage, context, tracker)
    except BaseException:
        tracker.end({}, [], failed=True)
        raise
    cost = {"wall_s": time.monotonic() - started, "process_cpu_s": _cpu_seconds(), **details.pop("cost", {})}
    executed = bool(details["executed"])
    path = root / "reports" / "metrics" / f"{progress.stage}.json"
    if executed:
        tracker.end(metrics | {f"cost/{k}": v for k, v in cost.items()}, details.pop("files", []), failed=False)
    details.pop("files", None)
    write_json(
        path,
        {
            "stage": progress.stage,
            "metrics": dict(metrics),
            "cost": cost,
            "mlflow_run_id": tracker.run_id or details.pop("run_id", None),
            "warnings": tracker.warnings,
            **{k: v for k, v in details.items() if k != "run_id"},
        },
    )
    if stage.name == "report":
        plots = sorted((root / "reports" / "plots").glob("*.png"))
        page = [root / "reports" / "index.html", *(path for path in plots if not path.name.startswith("readme-"))]
        tracker.close_parent(metrics, [path for path in page if path.is_file()])
    return f"{details['summary']}, {cost['process_cpu_s']:.0f} CPU s"


def _run_videos(
    stage: VideoStage, context: Context, run: RunSection, tracker: Tracker
) -> tuple[dict[str, float], dict[str, Any]]:
    store = Store(context.root, stage.name)
    out = context.root / stage.out.format(variant=context.variant)
    with folder_lock(store.folder), ExitStack() as held:
        store.tidy()
        units = stage.units(context)
        keys, failures = _unit_keys(stage, context, units)
        entries = {id_: entry for id_, key in keys.items() if (entry := store.find(key))}
        reused = len(entries)
        missing = [u for u in units if u.id in keys and u.id not in entries]
        held.enter_context(lease(stage.needs if missing else "cpu"))
        if missing:
            tracker.begin(context.progress.stage, _flat(context), _tags(context), make_key(sorted(keys.items())))
        context.progress.start("videos", len(units), reused + len(failures), reused)
        items = [(stage.name, context.root, u, context.params, keys[u.id], tracker.run_id) for u in missing]
        # closing(): a stop that arrives in this loop must end the pool now, not when the traceback is dropped.
        with closing(run_units(_compute_unit, items, run.executor, run.workers)) as outcomes:
            for outcome in outcomes:
                unit = missing[outcome.index]
                if outcome.cause is None:
                    entries[unit.id] = Entry(store.folder / keys[unit.id])
                else:
                    failures[unit.id] = outcome.cause
                    context.progress.say(f"{unit.id} failed: {outcome.cause}")
                context.progress.update(len(entries) + len(failures), len(failures))
        _clear(out)
        for unit in units:
            if unit.id in entries:
                entries[unit.id].link_into(out, unit.stem)
        rows = [{"video": id_, "stage": context.progress.stage, "cause": failures[id_]} for id_ in sorted(failures)]
        write_json(out / FAILURES_FILE, rows)
        records = {u.id: entries[u.id].record for u in units if u.id in entries}
        _check_failed(context, len(units), rows, run.max_failed)
        metrics = dict(stage.finish(context, out, records)) if stage.finish else {}
    run_ids = sorted({str(r["run_id"]) for r in records.values() if r.get("run_id")})
    metrics = {"videos": float(len(records)), "failed": float(len(failures)), **metrics}
    return metrics, {
        "executed": bool(missing),
        "run_id": run_ids[-1] if run_ids else None,
        "videos": {"done": len(records), "failed": len(failures), "reused": reused},
        "failures": rows,
        "files": [out / FAILURES_FILE] if rows else [],
        "cost": {"unit_cpu_s": sum(float(r["cpu_s"]) for r in records.values())},
        "summary": f"{len(records)} videos ({reused} from the work store), {len(failures)} failed",
    }


def _unit_keys(stage: Stage, context: Context, units: Sequence[Unit]) -> tuple[dict[str, str], dict[str, str]]:
    """Work store keys by unit id, and the causes of failure of those whose inputs cannot be read."""
    base = _base_key(stage, context)
    keys: dict[str, str] = {}
    failures: dict[str, str] = {}
    for unit in units:
        try:
            digests = [digest for _, digest in digest_inputs(unit.inputs, context.root)]
        except OSError as error:
            failures[unit.id] = f"{type(error).__name__}: {error}"
        else:
            keys[unit.id] = make_key(base, dict(unit.spec), digests)
    return keys, failures


def _compute_unit(item: tuple[str, Path, Unit, Any, str, str | None]) -> None:
    """One unit, in whatever process: fill a new entry of the work store."""
    name, root, unit, params, key, run_id = item
    stage = find_stage(name)
    assert isinstance(stage, VideoStage)
    start = time.process_time()
    with Store(root, name).create(key) as (folder, record):
        record.update(stage.process(unit, params, folder))
        record |= {"cpu_s": time.process_time() - start, "run_id": run_id}


def _run_dataset(stage: DatasetStage, context: Context, tracker: Tracker) -> tuple[dict[str, float], dict[str, Any]]:
    store = Store(context.root, context.progress.stage)
    inputs = digest_inputs(stage.inputs(context), context.root)
    key = make_key(_base_key(stage, context), context.variant, inputs)
    with folder_lock(store.folder):
        store.tidy()
        entry = None if stage.always else store.find(key)
        executed = entry is None
        if entry is None:
            tracker.begin(context.progress.stage, _flat(context), _tags(context), make_key(inputs))
            work = store.folder / f"{key}-work"
            work.mkdir(exist_ok=True)
            if stage.always:
                shutil.rmtree(store.folder / key, ignore_errors=True)
            with lease(stage.needs), store.create(key) as (folder, record):
                begin = _cpu_seconds()
                full = replace(context, fingerprint=key, work=work, result=folder)
                record["metrics"] = {k: float(v) for k, v in stage.run(full).items()}
                record["cpu_s"] = _cpu_seconds() - begin
                record["run_id"] = tracker.run_id
                for name, module in stage.checkpoints.items():
                    tracker.checkpoint(_model_name(context, name), folder / name, module)
            shutil.rmtree(work, ignore_errors=True)
            entry = Entry(store.folder / key)
        for name, target in stage.outs.items():
            out = context.root / target.format(variant=context.variant)
            _clear(out)
            for source in sorted((entry.folder / name).iterdir()):
                if source.name != ENTRY_FILE:
                    _link_tree(source, out / source.name)
    return dict(entry.record["metrics"]), {
        "executed": executed,
        "run_id": entry.record.get("run_id"),
        "cost": {"unit_cpu_s": float(entry.record["cpu_s"])},
        "summary": "computed" if executed else "taken from the work store",
    }


def _link_tree(source: Path, target: Path) -> None:
    if source.is_dir():
        for child in sorted(source.iterdir()):
            _link_tree(child, target / child.name)
    else:
        link_or_copy(source, target)


def _base_key(stage: Stage, context: Context) -> list[Any]:
    modules = [f"stages.{stage.name}", *stage.code(context.params, context.root, context.variant)]
    kinds = sorted(kind.declaration() for kind in (*stage.reads, *stage.writes))
    return [
        stage.name,
        code_digest(context.root, modules),
        context.params.model_dump(mode="json"),
        _plain(context.shared),
        kinds,
    ]


def _model_name(context: Context, folder: str) -> str:
    """Stage, variant and folder, no word twice: head-lofi, pretrain-acp. MLflow allows neither @ nor a slash."""
    return "-".join(dict.fromkeys([*context.progress.stage.split("@"), folder]))


def _lookup(sections: Mapping[str, Section], path: str) -> Any:
    name, dot, field_name = path.partition(".")
    return getattr(sections[name], field_name) if dot else sections[name]


def _flat(context: Context) -> dict[str, Any]:
    return flatten(context.params.model_dump(mode="json") | _plain(context.shared))


def _plain(shared: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v.model_dump(mode="json") if isinstance(v, Section) else v for k, v in shared.items()}


def _tags(context: Context) -> dict[str, str]:
    return {"variant": context.variant} if context.variant else {}


def _check_failed(context: Context, total: int, rows: list[dict[str, str]], max_failed: float) -> None:
    if not total:
        raise StageError("there is no video to work on; does the data set's definition name the right folder?")
    if len(rows) / total > max_failed or len(rows) == total:
        listed = "; ".join(f"{row['video']}: {row['cause']}" for row in rows[:5])
        raise StageError(
            f"{len(rows)} of {total} videos failed, more than run.max_failed = {max_failed:g} allows: {listed}"
        )


def _clear(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def _cpu_seconds() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def _warn_about_interpreter(root: Path, label: str) -> None:
    venv = root / ".venv"
    if "DVC_ROOT" in os.environ and venv.is_dir() and Path(sys.prefix).resolve() != venv.resolve():
        print(
            f"{label}: runs on {sys.executable}, not on this project's .venv; put .venv/bin first on PATH "
            "(make and the pipeline command do that)",
            file=sys.stderr,
        )
