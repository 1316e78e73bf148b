"""Speed of `uplift status` and `uplift promote` with many registered versions."""

import argparse
import tempfile
from functools import partial
from pathlib import Path

from benchmarks.speed.lifting import cpu_seconds, run
from benchmarks.speed.timing import in_turn
from tasks.tracking.connection import connect
from tasks.tracking.names import MODEL_NAME
from tasks.tracking.registry import model_versions

VERSIONS = 1000
TINY = (
    "synthetic.people=6",
    "synthetic.seconds=1.5",
    "convert.views=1",
    "ingest.min_frames=10",
    "pretrain.max_epochs=2",
    "finetune.max_epochs=1",
    "baselines.mlp.minutes=0.02",
    "evaluate.robustness_windows=0",
    "promote.min_gain_mm=1e6",  # no promotion, so that each round does the same
)


def versions(options: argparse.Namespace) -> None:
    """Compare `uplift status` and `uplift promote` in new processes with 1 and with 1,000 registered versions.

    The store has one pipeline run. All versions have its weights. Seconds are CPU time. Result of 2026-11-30 on a busy
    AMD EPYC, one round: status 4.9 s and 4.8 s, promote 5.5 s and 5.7 s.
    """
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        words = ["--store", f"{folder}/store", *(f"--set={text}" for text in TINY)]
        commands = {name: partial(run, ["-m", "flows.cli", name, *words]) for name in ("status", "promote")}
        run(["-m", "flows.cli", "pipeline", *words])
        client = connect(Path(folder) / "store")
        (first,) = model_versions(client)
        for count in (1, VERSIONS):
            for _ in range(count - 1):
                client.create_model_version(MODEL_NAME, str(first.source), first.run_id, first.tags)
            seconds = in_turn(commands, options.rounds, cpu_seconds)
            print(
                f"  {count:5,} versions: status {seconds['status']:.1f} s, promote {seconds['promote']:.1f} s",
                flush=True,
            )
