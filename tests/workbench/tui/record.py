"""Make the recordings anew that pictures are drawn from: ``python -m tests.workbench.tui.record``."""

from tests.workbench.tui.measures_sample import record_measures
from tests.workbench.tui.sample import record_sample, write_recorded

if __name__ == "__main__":
    write_recorded("sample", *record_sample())
    write_recorded("measures", record_measures())
