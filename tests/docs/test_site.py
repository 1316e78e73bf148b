"""The documentation site builds without broken links, and its landing page plays the lifted example."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_site_builds_strictly(tmp_path):
    words = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(tmp_path / "site")]
    built = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    site = tmp_path / "site"
    assert 'src="viewer.html"' in (site / "index.html").read_text()
    assert "person-0" in (site / "viewer.html").read_text()
    assert "uplift lift" in (site / "cli/index.html").read_text()
    assert "pose_uplift.lift_file" in (site / "python/index.html").read_text()
    pages = [page.stem for page in (ROOT / "docs").glob("*.md")]
    assert all((site / page / "index.html").is_file() for page in pages)
