"""What a cron job of the team prints each morning: `python -m board.report`."""

from __future__ import annotations

from board import store

if __name__ == "__main__":
    [(number,)] = store.ask("SELECT count(*) FROM notices")
    print(number, "notices")
