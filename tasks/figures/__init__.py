"""Figures of reports, clips and durations.

Figures need no display. Text is drawn unchanged, so a `$` in the name of a subject does not start a formula.
"""

import matplotlib

matplotlib.use("Agg")
matplotlib.rcParams["text.parse_math"] = False
