"""`python -m ingestd` is the same program as the `ingestd` command."""

from ingestd.cli import main

if __name__ == "__main__":
    main()
