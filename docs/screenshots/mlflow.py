"""Pictures of what MLflow shows of a store: two pipelines compared, a version with its card, the playing page.

    .venv/bin/python -m docs.screenshots.mlflow --store STORE [--into docs]

Of the two pipelines that ended last. Those in `docs/` are of preset `demo`, cut short and whole:

    .venv/bin/uplift pipeline --store STORE --set pretrain.max_epochs=8 --set finetune.max_epochs=4
    .venv/bin/uplift pipeline --store STORE

Notable decisions:
- a server of its own, on a free port, which ends with the script;
- MLflow's page is told what a person would click once: no assistant, no GenAI, the side bar folded;
- what is waited for is what the picture is of, never a time; MLflow's own class names are not relied upon.
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

from data_contracts.run_names import PIPELINE
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
    """Make the pictures, or say in a line why not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--into", type=Path, default=Path(__file__).parent.parent)
    options = parser.parse_args()
    try:
        make_pictures(options.store, options.into)
    except NoBrowserError as error:
        raise SystemExit(str(error)) from None


def make_pictures(store: Path, into: Path) -> None:
    """Three PNGs in that folder."""
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
    """The two pipelines that ended last, the older one first."""
    experiment = client.get_experiment_by_name(EXPERIMENT)
    wanted = f"tags.`{STAGE_TAG}` = '{PIPELINE}' and attributes.status = 'FINISHED'"
    ended = ["attributes.end_time DESC"]
    found = client.search_runs([experiment.experiment_id], wanted, order_by=ended, max_results=2) if experiment else []
    if len(found) < 2:
        raise SystemExit(f"{len(found)} pipelines have ended in this store, and two are compared: run uplift pipeline")
    return found[1], found[0]


# ---- what the pictures are of


def compared(page: Page, address: str) -> None:
    """Two runs side by side: the parameters in which they differ, and the metrics."""
    show(page, address, "Run details")
    click(page, "Visualizations")
    for what in ("Parameters", "Metrics"):
        click(page, f"{what} - Show diff only")
    page.wait_for("document.body.innerText.includes('test/')")


def described(page: Page, address: str) -> None:
    """A version, with its card."""
    show(page, address, "Provenance")


def playing(page: Page, browser: str, address: str) -> None:
    """The page that plays, in MLflow's viewer, some way into the clip."""
    show(page, address, VIEWER_FILE)
    with open_frame(browser) as frame:
        frame.wait_for("find('view3d').clientHeight > 0 && state.time > 0.4 * state.scene.frames")


# ---- MLflow's page


@contextmanager
def mlflow_server(store: Path) -> Iterator[str]:
    """Address of an MLflow server of the store while the block lasts."""
    database = store.resolve() / "mlflow.db"
    if not database.is_file():
        raise SystemExit(f"{store} is no store in which anything has run: there is no {database.name}")
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
        start_new_session=True,  # it starts others, which end with it
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
    """A page of MLflow, of that height, with the settings of somebody who has used it before."""
    with new_page(browser) as page:
        page.ask("Page.addScriptToEvaluateOnNewDocument", source=_SETTINGS)
        resize(page, height)
        page.ask("Page.navigate", url=f"{server}/#/experiments")
        click(page, "Toggle sidebar")  # before a table takes its width
        yield page


def show(page: Page, address: str, content: str) -> None:
    """Another page of MLflow's, as soon as the text is there that it is shown for."""
    go_to(page, address, content)
    page.run(f"{button('MLflow Assistant')}?.remove()")


if __name__ == "__main__":
    main()
