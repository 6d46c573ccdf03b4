"""The pages in a real browser, headless: the form, a refusal, a run, a cancel, and the comparison. Second tier.

Screenshots go to the folder in ``PIPELINE_SCREENSHOTS``, where that is set.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.report.page import Report, StageRow, report_page
from tests.browser import Browser
from tests.flow.conftest import Pages
from tests.run.door_project import runs
from tests.run.tiny_project import wait_until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    browser = Browser(tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()


@pytest.fixture
def picture(browser: Browser, tmp_path: Path) -> Iterator[Path]:
    """Where screenshots go; whatever the test left on the page is one of them."""
    folder = Path(os.environ.get("PIPELINE_SCREENSHOTS") or tmp_path)
    yield folder
    browser.screenshot(folder / f"last-of-{os.environ['PYTEST_CURRENT_TEST'].split('::')[-1].split(' ')[0]}.png")


def fill_form(browser: Browser, pages: Pages, choices: dict[str, str], overrides: list[str]) -> None:
    browser.open(f"{pages.url}/deployments/deployment/{pages.deployment()['id']}/run")
    browser.wait_for("Add item")
    for name, value in choices.items():
        field = f"[...document.querySelectorAll('.schema-form-property')].find(e => e.innerText.startsWith('{name}'))"
        browser.run(
            f"(() => {{ const s = {field}.querySelector('select');"
            f" s.value = [...s.options].find(o => o.text === '{value}').value;"
            " for (const kind of ['input', 'change']) s.dispatchEvent(new Event(kind, {bubbles: true})); })()"
        )
    for override in overrides:
        browser.click("Add item")
        browser.wait_until("document.querySelector('textarea') !== null", "a field for the override")
        browser.click_at("[...document.querySelectorAll('textarea')].at(-1)")
        browser.type(override)


def submit(browser: Browser, pages: Pages) -> str:
    """Press the button and open the page of the run; returns its id."""
    before = latest(pages)
    browser.click("Submit")
    wait_until(lambda: latest(pages) != before, "the run is there")
    run = latest(pages)
    browser.open(f"{pages.url}/runs/flow-run/{run}")
    return run


def latest(pages: Pages) -> str:
    _, found = pages.call("/flow_runs/filter", {"sort": "EXPECTED_START_TIME_DESC", "limit": 1})
    return str(found[0]["id"]) if found else ""


def test_a_run_from_the_form(browser: Browser, pages: Pages, picture: Path) -> None:
    fill_form(browser, pages, {"recipe": "big", "target": "train@a"}, ["train.steps=40"])
    browser.screenshot(picture / "form.png")
    run = submit(browser, pages)
    browser.wait_for("Running")
    pages.wait_for_task(run, "train@a", "Running")
    browser.click("Task Runs", "*", last=True)
    browser.wait_for("train@a")
    browser.screenshot(picture / "running.png")
    assert pages.wait(run)["type"] == "COMPLETED"
    request = pages.call(f"/flow_runs/{run}")[1]["parameters"]
    asked = {
        "dataset": "tiny",
        "recipe": "big",
        "target": "train@a",
        "overrides": ["train.steps=40"],
        "workspace": "own",
    }
    assert request.items() >= asked.items()
    browser.wait_for("Completed")
    browser.screenshot(picture / "completed.png")
    browser.open(f"{pages.url}/artifacts/artifact/{pages.artifacts(run)['summary']['id']}")
    browser.wait_for("MLflow run:")
    browser.screenshot(picture / "summary.png")
    for words in ("train@a", "computed", "Failed videos: 1", "could not convert string to float"):
        browser.wait_for(words)
    link = browser.run("[...document.querySelectorAll('a')].map(a => a.href).find(h => h.includes('/experiments/'))")
    assert str(pages.mlflow) in link
    browser.open(link)
    browser.wait_for("train.steps=40")
    browser.screenshot(picture / "mlflow-run.png")
    assert not browser.foreign, "the pages ask nobody outside this machine"


def test_a_wrong_override_is_shown_where_it_was_started(browser: Browser, pages: Pages, picture: Path) -> None:
    fill_form(browser, pages, {}, ["train.steps=many"])
    run = submit(browser, pages)
    assert pages.wait(run)["type"] == "FAILED"
    browser.wait_for("Failed")
    browser.wait_for("train.steps = 'many'")
    browser.screenshot(picture / "refused.png")


def test_cancel_from_the_page(browser: Browser, pages: Pages, picture: Path) -> None:
    fill_form(browser, pages, {"target": "train@b"}, ["train.steps=400"])
    run = submit(browser, pages)
    pages.wait_for_task(run, "train@b", "Running")
    wait_until(lambda: "stage-train-b" in pages.artifacts(run), "it makes progress", 60)
    browser.click("Cancel")
    browser.wait_for("Cancel Flow Run")
    browser.screenshot(picture / "cancel.png")
    browser.click("Confirm")
    assert pages.wait(run, 60)["type"] == "CANCELLED"
    browser.wait_for("Cancelled")
    browser.screenshot(picture / "cancelled.png")


def test_two_runs_side_by_side(browser: Browser, pages: Pages, picture: Path) -> None:
    for steps in (10, 12):
        assert pages.wait(pages.start(target="train@a", overrides=[f"train.steps={steps}"]))["type"] == "COMPLETED"
    found = runs(pages.project.folder / "mlruns")
    two = [one for one in found if one.data.tags.get("dvc.stage") == "train@a"][:2]
    ids, experiment = json.dumps([one.info.run_id for one in two]), two[0].info.experiment_id
    browser.open(f"http://127.0.0.1:{pages.mlflow}/#/compare-runs?runs={ids}&experiments=[%22{experiment}%22]")
    browser.wait_for("weight")
    for words in ("steps", "10", "12"):
        browser.wait_for(words)
    browser.screenshot(picture / "compare.png")
    assert not browser.foreign


def test_the_report_leads_to_its_runs(browser: Browser, pages: Pages, picture: Path, tmp_path: Path) -> None:
    """The links of a report that was opened as a file, followed on the live MLflow server."""
    assert pages.wait(pages.start(target="train@a", overrides=["train.steps=11"]))["type"] == "COMPLETED"
    found = runs(pages.project.folder / "mlruns")
    parent = next(one for one in found if "mlflow.parentRunId" not in one.data.tags)
    child = next(one for one in found if one.data.tags.get("dvc.stage") == "train@a")
    url = f"http://127.0.0.1:{pages.mlflow}"
    row = StageRow("train@a", run_id=child.info.run_id)
    page = tmp_path / "index.html"
    page.write_text(report_page(Report("A run", stages=[row], run_id=parent.info.run_id, tracking=url)))
    for run in (parent, child):
        browser.open(page.as_uri())
        browser.wait_for("train@a")
        link = browser.run(f"[...document.links].map(a => a.href).find(h => h.includes('{run.info.run_id}'))")
        browser.open(link)
        browser.wait_for(run.info.run_name)
        browser.wait_for("Finished")
    browser.screenshot(picture / "from-report.png")
