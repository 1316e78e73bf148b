"""Take the screenshots of the documentation: `python -m docs.screenshots mlflow`, and the same with `prefect`.

`eval "$(.venv/bin/uplift env)"` sets the addresses of running servers. The pictures of MLflow show the last two
pipeline runs, those of Prefect the last completed and the last failed nightly run.
"""

import io
import os
import sys
from pathlib import Path

from mlflow import MlflowClient
from PIL import Image
from playwright.sync_api import Browser
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.sorting import FlowRunSort

from docs.browser import chromium
from tasks.tracking.links import VIEW
from tasks.tracking.registry import CHALLENGER, MODEL_NAME
from tasks.tracking.runs import EXPERIMENT
from tasks.viewer.evaluation_viewer import VIEWER_FILE

MLFLOW = f"{os.environ.get('MLFLOW_TRACKING_URI', '')}/#"
ML_PAGES = "workflowType=machine_learning"
PREFECT = os.environ.get("PREFECT_API_URL", "").removesuffix("/api")
USER, _, PASSWORD = os.environ.get("PREFECT_API_AUTH_STRING", "").partition(":")
COLOURS = 128  # of the palette, which makes the file four times smaller
SETTINGS = f"""
localStorage.setItem("prefect-password", btoa("{USER}:{PASSWORD}"));
localStorage.setItem("mlflow.assistant.fab.autoOpenedOnFirstLoad_v1", "true");
"""


def take(browser: Browser, name: str, height: int, address: str, *clicks: str) -> None:
    """Open an address with a new profile, click the elements with these texts or labels, and write `docs/NAME.png`."""
    page = browser.new_page(
        viewport={"width": 1280, "height": height}, http_credentials={"username": USER, "password": PASSWORD}
    )
    page.add_init_script(SETTINGS)
    page.goto(address)
    for text in clicks:
        page.get_by_text(text, exact=True).or_(page.get_by_label(text, exact=True)).first.click()
    page.wait_for_timeout(15000)  # both servers draw rows and charts piece by piece
    image = Image.open(io.BytesIO(page.screenshot(style="[data-assistant-ui] { display: none }"))).convert("RGB")
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(Path(__file__).with_name(f"{name}.png"), optimize=True)
    page.close()


def mlflow(browser: Browser) -> None:
    """Take the pictures of the server of MLFLOW_TRACKING_URI."""
    client = MlflowClient()
    query = "tags.`uplift.stage` = 'pipeline' and attributes.status = 'FINISHED'"
    (experiment,) = (one.experiment_id for one in client.search_experiments() if one.name == EXPERIMENT)
    after, before = client.search_runs([experiment], query, order_by=["attributes.end_time DESC"], max_results=2)
    runs = f'runs=["{before.info.run_id}","{after.info.run_id}"]&experiments=["{experiment}"]'
    clicks = ("Toggle sidebar", "Visualizations", "Parameters - Show diff only", "Metrics - Show diff only")
    take(browser, "compared", 1090, f"{MLFLOW}/compare-runs?{runs}&{ML_PAGES}", *clicks)
    view = f"{MLFLOW}/experiments/{experiment}/runs?{ML_PAGES}&viewStateShareKey={VIEW}"
    take(browser, "runs", 560, view, "Toggle sidebar")
    version = client.get_model_version_by_alias(MODEL_NAME, CHALLENGER).version
    take(browser, "version", 993, f"{MLFLOW}/models/{MODEL_NAME}/versions/{version}?{ML_PAGES}", "Toggle sidebar")
    evaluation = f"{MLFLOW}/experiments/{experiment}/runs/{after.data.tags['uplift.evaluate.run']}"
    take(browser, "playing", 800, f"{evaluation}/artifacts/{VIEWER_FILE}?{ML_PAGES}", "Toggle sidebar")


def prefect(browser: Browser) -> None:
    """Take the pictures of the server of PREFECT_API_URL."""
    take(browser, "deployments", 1090, f"{PREFECT}/deployments?limit=25")
    with get_client(sync_client=True) as client:
        nightly = {"any_": [client.read_deployment_by_name("pipeline/nightly").id]}
        for state in ("COMPLETED", "FAILED"):
            of_state = FlowRunFilter.model_validate({"deployment_id": nightly, "state": {"type": {"any_": [state]}}})
            for run in client.read_flow_runs(flow_run_filter=of_state, sort=FlowRunSort.END_TIME_DESC, limit=1):
                address = f"{PREFECT}/runs/flow-run/{run.id}"
                if state == "FAILED":
                    take(browser, "failed", 500, address, "Artifacts", "pipeline-summary")
                else:
                    take(browser, "pipeline-run", 1000, address, "Artifacts")
                    take(browser, "summary", 760, address, "Artifacts", "pipeline-summary")
                    take(browser, "durations", 760, address, "Artifacts", "pipeline-durations")


if __name__ == "__main__":
    with chromium() as started:
        {"mlflow": mlflow, "prefect": prefect}[sys.argv[1]](started)
