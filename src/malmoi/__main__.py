"""`python -m malmoi`, for where the `malmoi` command is not on the path."""

from malmoi.cli.main import main

if __name__ == "__main__":
    main()
