"""`python -m jabberd.cli` is `jabberd`."""

from jabberd.cli import main

main()
