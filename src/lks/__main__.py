"""`python -m lks`."""

from lks.cli import main

main()
