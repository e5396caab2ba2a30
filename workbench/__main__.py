"""``python -m workbench`` is the command ``adl-workbench``."""

from workbench.cli import main

main()
