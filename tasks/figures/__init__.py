"""Figures of reports, clips and durations.

Every figure is drawn without a display, and its text as it is: a `$` in the name of a subject is no mathematics.
"""

import matplotlib

matplotlib.use("Agg")
matplotlib.rcParams["text.parse_math"] = False
