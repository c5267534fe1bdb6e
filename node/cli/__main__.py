"""`python -m node.cli` is `harmonode`; the supervisor starts its workers so."""

from node.cli import main

main()
