"""`python -m lks`."""

from lks.cli.app import main

main()
