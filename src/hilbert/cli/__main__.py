"""`python -m hilbert.cli`, as the console script."""

from hilbert.cli import main

if __name__ == "__main__":
    main()
