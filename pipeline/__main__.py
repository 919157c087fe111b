"""`python -m pipeline` is `ens-images`. An interrupt before and after a command ends it at once."""

from pipeline.runtime import exit_on_interrupt


def main() -> None:
    """Run the command line."""
    exit_on_interrupt()
    try:
        from pipeline import cli

        cli.main()
    finally:
        exit_on_interrupt()


if __name__ == "__main__":
    main()
