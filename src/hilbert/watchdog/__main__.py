"""`python -m hilbert.watchdog`."""

from hilbert.watchdog.run import run_and_exit

if __name__ == "__main__":
    run_and_exit()
