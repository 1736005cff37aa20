"""`python -m hfnet_core` is the `hfnet` command."""

from hfnet_core.cli.main import main

main()
