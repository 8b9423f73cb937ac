"""`python -m labkit`: the `labkit` command, as `accelerate launch -m labkit` starts it in every process."""

from .cli import main

main()
