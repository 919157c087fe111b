"""`python -m pipeline` is `ens-images`."""

from pipeline.cli import main

main()
