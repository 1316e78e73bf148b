"""Take screenshots of MLflow for a store: two pipeline runs compared, a version with its card, the viewer.

    .venv/bin/python -m docs.screenshots.mlflow --store STORE [--into docs]

They show the last two pipeline runs. Those in `docs/` are of preset `demo`, cut short and whole:

    .venv/bin/uplift pipeline --store STORE --set pretrain.max_epochs=8 --set finetune.max_epochs=4
    .venv/bin/uplift pipeline --store STORE

- The script starts its own MLflow server on a free port, and hides the assistant, GenAI pages and the side bar.
- It waits for texts of the page, not for a time, and uses no class names of MLflow.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from mlflow import MlflowClient
from mlflow.entities import Run

from data_contracts.store.digests import PIPELINE
from docs.chromium import NoBrowserError, Page, chromium, new_page, open_frame
from docs.screenshots.picture import WIDTH, button, click, go_to, resize, save
from tasks.tracking.registry import CHALLENGER, MODEL_NAME
from tasks.tracking.runs import EXPERIMENT, STAGE_TAG
from tasks.viewer.evaluation_viewer import VIEWER_FILE

_SETTINGS = """
for (const [key, value] of Object.entries({
  "mlflow.assistant.panelOpen_v1": "false",
  "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": "true",
  "mlflow.workflowType_v1": '"machine_learning"',
})) localStorage.setItem(key, value);
"""


def main() -> None:
    """Take the screenshots, or end with one line that states the reason."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--into", type=Path, default=Path(__file__).parent.parent)
    options = parser.parse_args()
    try:
        take_screenshots(options.store, options.into)
    except NoBrowserError as error:
        raise SystemExit(str(error)) from None


def take_screenshots(store: Path, into: Path) -> None:
    """Write three PNG files to a folder."""
    with (
        TemporaryDirectory(ignore_cleanup_errors=True) as profile,
        chromium(Path(profile), WIDTH) as browser,
        mlflow_server(store) as server,
    ):
        client = MlflowClient(server)
        before, after = last_pipelines(client)
        version = client.get_model_version_by_alias(MODEL_NAME, CHALLENGER)
        evaluation = after.data.tags["uplift.evaluate.run"]
        of_experiment = f"{server}/#/experiments/{after.info.experiment_id}"
        runs = f'runs=["{before.info.run_id}","{after.info.run_id}"]&experiments=["{after.info.experiment_id}"]'
        with mlflow_page(browser, server, height=1090) as page:
            compared(page, f"{server}/#/compare-runs?{runs}")
            save(page, into / "compared.png")
        with mlflow_page(browser, server, height=993) as page:
            described(page, f"{server}/#/models/{MODEL_NAME}/versions/{version.version}")
            save(page, into / "version.png")
        with mlflow_page(browser, server, height=800) as page:
            playing(page, browser, f"{of_experiment}/runs/{evaluation}/artifacts/{VIEWER_FILE}")
            save(page, into / "playing.png")


def last_pipelines(client: MlflowClient) -> tuple[Run, Run]:
    """Return the last two pipeline runs, the older one first."""
    experiment = client.get_experiment_by_name(EXPERIMENT)
    query = f"tags.`{STAGE_TAG}` = '{PIPELINE}' and attributes.status = 'FINISHED'"
    ended = ["attributes.end_time DESC"]
    runs = client.search_runs([experiment.experiment_id], query, order_by=ended, max_results=2) if experiment else []
    if len(runs) < 2:
        raise SystemExit(f"{len(runs)} finished pipeline runs in this store; two are needed: run uplift pipeline")
    return runs[1], runs[0]


# ---- contents


def compared(page: Page, address: str) -> None:
    """Show two runs with their different parameters and their metrics."""
    show(page, address, "Run details")
    click(page, "Visualizations")
    for section in ("Parameters", "Metrics"):
        click(page, f"{section} - Show diff only")
    page.wait_for("document.body.innerText.includes('test/')")


def described(page: Page, address: str) -> None:
    """Show a version with its card."""
    show(page, address, "Provenance")


def playing(page: Page, browser: str, address: str) -> None:
    """Show the 3D viewer in MLflow, at 40 % of the clip."""
    show(page, address, VIEWER_FILE)
    with open_frame(browser) as frame:
        frame.wait_for("find('view3d').clientHeight > 0 && state.time > 0.4 * state.scene.frames")


# ---- MLflow


@contextmanager
def mlflow_server(store: Path) -> Iterator[str]:
    """Start an MLflow server on the store and yield its address."""
    database = store.resolve() / "mlflow.db"
    if not database.is_file():
        raise SystemExit(f"{store}: no {database.name}; run uplift pipeline in this store first")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{database}"]
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with subprocess.Popen(
        [*command, "--port", str(port), "--workers", "1"],
        env=os.environ | quiet,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # to end its child processes too
    ) as process:
        try:
            address = f"http://127.0.0.1:{port}"
            while process.poll() is None and not _answers(address):
                time.sleep(0.2)
            if process.returncode is not None:
                raise SystemExit(f"`{' '.join(command)}` did not start")
            yield address
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@contextmanager
def mlflow_page(browser: str, server: str, height: int) -> Iterator[Page]:
    """Open a page of MLflow with this height and without first-use hints."""
    with new_page(browser) as page:
        page.ask("Page.addScriptToEvaluateOnNewDocument", source=_SETTINGS)
        resize(page, height)
        page.ask("Page.navigate", url=f"{server}/#/experiments")
        click(page, "Toggle sidebar")  # before a table takes its width
        yield page


def show(page: Page, address: str, content: str) -> None:
    """Open another page of MLflow and wait for a text."""
    go_to(page, address, content)
    page.run(f"{button('MLflow Assistant')}?.remove()")


if __name__ == "__main__":
    main()
