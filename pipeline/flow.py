"""The Prefect flow: the graph of dvc.yaml as tasks, started from a form. The only file that names prefect.

dvc decides what is up to date, so Prefect caches nothing; what a run is and how it is checked is the door's
(``pipeline.run.launch``). ``python -m pipeline ui`` serves the flow; workers on other machines run it from a work pool.
"""

import contextvars
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.deployments import run_deployment
from prefect.deployments.runner import EntrypointType  # type: ignore[attr-defined]
from prefect.futures import PrefectFuture
from prefect.runtime import flow_run
from prefect.states import Cancelled, Cancelling, Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner
from pydantic import Field

from pipeline.run.conduct import Conductor, StageFailed, StageStopped
from pipeline.run.dvc import read_graph, targets
from pipeline.run.files import read_json
from pipeline.run.launch import Plan, Request, Session, check, open_session
from pipeline.run.params import PARAMS_FILE, ParameterError, read_params
from pipeline.run.stage import find_stage

ROOT = Path(__file__).resolve().parent.parent
MLFLOW_URL_VARIABLE = "PIPELINE_MLFLOW_URL"
STAGES_AT_ONCE = 2
PUBLISH_SECONDS = 2.0
NONE, ALL = "none", "all"
GPU_DEPLOYMENT = "long-form-video/gpu"


def _names(folder: str) -> list[str]:
    return sorted(path.stem for path in (ROOT / folder).glob("*.yaml"))


def _one_of(values: list[str]) -> Any:
    """A field that the form shows as a list and refuses all else for."""
    return Field(json_schema_extra={"enum": list(values)})


DATA_SETS = _names("data/datasets")
RECIPES = [NONE, *_names("recipes")]
TARGETS = [ALL, *targets(read_graph(ROOT))]
STANDING = str(read_params(ROOT / PARAMS_FILE)["ingest"]["dataset"])
TASK_RUNNER: Any = ThreadPoolTaskRunner(max_workers=STAGES_AT_ONCE)


@flow(
    name="long-form-video",
    description="Raw, untrimmed video to localised actions and a report.",
    task_runner=TASK_RUNNER,
    validate_parameters=True,
)
def run_pipeline(
    dataset: Annotated[str, _one_of(DATA_SETS)] = STANDING,
    recipe: Annotated[str, _one_of(RECIPES)] = NONE,
    target: Annotated[str, _one_of(TARGETS)] = ALL,
    overrides: list[str] = [],  # noqa: B006
    workspace: Literal["own", "here"] = "own",
    share: bool = False,
    gpu_stages: Literal["here", "queue"] = "here",
) -> Any:
    """Check the form, run one task per stage in the graph's order, and end with a summary.

    Args:
        dataset: A file of data/datasets.
        recipe: An overlay of recipes/ over params.yaml.
        target: The stage to stop at.
        overrides: Parameters to change, each as section.key=value, such as lofi.reduction=2.
        workspace: own is a git worktree of the last commit; here is the checkout itself, whose params.yaml is changed.
        share: Take results from the DVC remote and push them there; for work on several machines.
        gpu_stages: Run the stages that gain from a GPU here, or through the queue of the GPU workers (implies share).
    """
    request = Request(
        dataset,
        None if recipe == NONE else recipe,
        tuple(override.strip() for override in overrides if override.strip()),
        None if target == ALL else target,
        workspace,
    )
    log = get_run_logger()
    checked = _task(_check, "check", "check")(request, return_state=True)
    if not checked.is_completed():
        log.error("nothing was started: %s", checked.message)
        return Failed(message=checked.message)
    plan: Plan = checked.result()
    begin = time.monotonic()
    with open_session(plan, {"prefect.flow_run_id": str(flow_run.id)}, log.warning) as session:
        log.info("working in %s", session.workspace)
        conductor = Conductor(session, share or gpu_stages == "queue")
        try:
            futures = _submit(plan, conductor, gpu_stages == "queue")
            for future in futures.values():
                future.wait()
        except BaseException:  # a cancelled run arrives here as an exception of Prefect's
            conductor.stop()
            session.status = "KILLED"
            raise
        states = {name: future.state for name, future in futures.items()}
        session.status = "FINISHED" if all(state.is_completed() for state in states.values()) else "FAILED"
        text = summary(session, {name: _words(state) for name, state in states.items()}, time.monotonic() - begin)
        create_markdown_artifact(text, key="summary", description=f"{session.status.lower()}: {session.workspace.name}")
    return list(states.values())


def _task(function: Callable[..., Any], name: str, run_name: str) -> Any:
    # No cache, no stored results: dvc and the work store have them.
    return task(name=name, task_run_name=run_name, cache_policy=NO_CACHE, persist_result=False)(function)


def _check(request: Request) -> Plan | State[Any]:
    try:
        return check(ROOT, request)
    except (ParameterError, OSError) as error:  # a state and no exception: a traceback would bury what it says
        return Failed(message=str(error))


def _submit(plan: Plan, conductor: Conductor, gpu_elsewhere: bool) -> dict[str, PrefectFuture[Any]]:
    """One task per stage, each waiting for those it stands on."""
    fresh = conductor.find_fresh()
    get_run_logger().info("%d of %d stages are up to date", len(fresh), len(plan.nodes))
    futures: dict[str, PrefectFuture[Any]] = {}
    for node in plan.nodes:
        elsewhere = gpu_elsewhere and node.name not in fresh and find_stage(node.stage).needs == "gpu"
        before = _asking_gpu_worker(plan, conductor, node.name) if elsewhere else None
        work = _task(_stage_of(conductor, node.name, before), node.stage, node.name)
        futures[node.name] = work.submit(wait_for=[futures[name] for name in node.after])
    return futures


def _asking_gpu_worker(plan: Plan, conductor: Conductor, name: str) -> Callable[[], None]:
    """Have a GPU worker do the stage and push its result, which dvc then finds here as the result of an earlier run."""
    request = plan.request
    parameters = {
        "dataset": plan.dataset,
        "recipe": request.recipe or NONE,
        "target": name,
        "overrides": list(request.overrides),
        "share": True,
    }

    def ask() -> None:
        log = get_run_logger()
        log.info("%s: waiting for a worker of the queue %s", name, GPU_DEPLOYMENT)
        run: Any = run_deployment(GPU_DEPLOYMENT, parameters=parameters, timeout=0, as_subflow=True)
        conductor.on_stop(lambda: _cancel(run.id))
        with get_client(sync_client=True) as client:
            while not conductor.stopping:
                state = client.read_flow_run(run.id).state
                if state is not None and state.is_final():
                    if not state.is_completed():
                        # dvc decides: what the worker did not push is computed here.
                        log.warning("%s: the worker's run ended as %s", name, state.name)
                    return
                time.sleep(PUBLISH_SECONDS)

    return ask


def _cancel(run_id: Any) -> None:
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run_id, Cancelling())


def _stage_of(conductor: Conductor, name: str, before: Callable[[], None] | None) -> Callable[[], State[Any]]:
    def run_stage() -> State[Any]:
        log = get_run_logger()
        progress = _Progress(name)
        try:
            if before is not None:
                before()
            result = conductor.run(name, log.info, progress.publish)
        except StageStopped as stop:
            return Cancelled(message=str(stop))
        except StageFailed as failure:
            return Failed(message=str(failure))
        if result.executed:
            return Completed(message=result.summary, data=result.summary)
        log.info("%s: %s", name, result.summary)
        return Completed(name="Cached", message=result.summary, data=result.summary)

    return run_stage


class _Progress:
    """A progress artifact of one stage, made when there is something to show."""

    def __init__(self, stage: str) -> None:
        self._key = "stage-" + stage.replace("@", "-").replace("_", "-").lower()
        self._context = contextvars.copy_context()
        self._artifact: Any = None
        self._told = 0.0

    def publish(self, status: Mapping[str, Any]) -> None:
        """Tell the server; called from a thread that is not the task's."""
        over = status["outcome"] != "running"
        if over or time.monotonic() - self._told >= PUBLISH_SECONDS:
            self._told = time.monotonic()
            self._context.run(self._send, status)

    def _send(self, status: Mapping[str, Any]) -> None:
        share = 100.0 if status["outcome"] == "done" else 100.0 * status["done"] / max(status["total"], 1)
        text = f"{status['done']} of {status['total']} {status['unit']}, {status['failed']} failed. {status['message']}"
        get_run_logger().info(text)
        if self._artifact is None:
            self._artifact = create_progress_artifact(share, key=self._key, description=text)
        else:
            update_progress_artifact(self._artifact, share, description=text)


def _words(state: State[Any]) -> str:
    name = {"Completed": "done", "Cached": "cached", "NotReady": "not started"}.get(
        state.name or "", str(state.name).lower()
    )
    return f"{name}: {state.message}" if state.message and name != "not started" else name


def summary(session: Session, words: Mapping[str, str], wall_s: float) -> str:
    """The run in Markdown: where its MLflow run and report are, what each stage did, which videos failed."""
    plan = session.plan
    url, run_id = os.environ.get(MLFLOW_URL_VARIABLE, ""), session.run.run_id
    link = f"{url}/#/experiments/{session.run.experiment_id}/runs/{run_id}"
    run = (f"[{run_id}]({link})" if url else run_id) if run_id else "none: nothing had to be computed"
    path = session.workspace / "reports" / "index.html"
    # A browser follows no link from a server's page to a file: the copy in MLflow can be clicked.
    report = f"[page]({link}/artifacts/index.html), `{path}`" if url and run_id else f"`{path}`"
    lines = [
        f"# {plan.dataset}: {session.status.lower()} after {wall_s:.0f} s",
        "",
        f"- MLflow run: {run}",
        f"- report: {report if path.is_file() else 'not made by this run'}",
        f"- workspace: `{session.workspace}`",
        f"- overrides: {', '.join(f'`{one}`' for one in plan.request.overrides) or 'none'}",
        "",
        "| stage | what happened | videos done | failed |",
        "| --- | --- | ---: | ---: |",
    ]
    failures = []
    for name, text in words.items():
        path = session.workspace / "reports" / "metrics" / f"{name}.json"
        metrics = read_json(path) if path.is_file() else {}
        videos = metrics.get("videos", {})
        first = (text.splitlines() or [""])[0].replace("|", "\\|")[:300]
        lines.append(f"| {name} | {first} | {videos.get('done', '')} | {videos.get('failed', '')} |")
        failures += metrics.get("failures", [])
    if failures:
        lines += ["", f"## Failed videos: {len(failures)}", "", "| stage | video | cause |", "| --- | --- | --- |"]
        lines += [f"| {f['stage']} | {f['video']} | {str(f['cause'])[:300]} |" for f in failures[:50]]
    return "\n".join(lines) + "\n"


def serve(name: str = "here", runs_at_once: int = 2) -> None:
    """Offer the flow on the Prefect server and run what is asked for, until stopped."""
    run_pipeline.serve(name=name, limit=runs_at_once, entrypoint_type=EntrypointType.MODULE_PATH)


if __name__ == "__main__":
    from pipeline.flow import serve as serve_as_module

    serve_as_module()  # not this __main__: a run imports the flow by its module's name
