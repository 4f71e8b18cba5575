"""Run the command line as ``python -m rlsp``."""

from rlsp.cli import main

main()
