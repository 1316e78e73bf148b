import subprocess
import sys
from pathlib import Path

import pytest

from flows.stack.settings import ROOT

SHOWS = "import os, pathlib; print(os.nice(0), pathlib.Path('/proc/self/autogroup').read_text().split()[-1])"


@pytest.mark.skipif(not Path("/proc/self/autogroup").is_file(), reason="this kernel has no autogroups")
def test_a_flow_run_steps_back_and_so_does_its_session():
    first = "from flows.prefect_ui.deployment_parameters import own_folder; own_folder(); own_folder();"
    command = [sys.executable, "-c", f"{first} {SHOWS}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, start_new_session=True)
    assert done.stdout.split() == ["5", "5"]
