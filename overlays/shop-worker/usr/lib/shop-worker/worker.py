"""Ships what was ordered: waits for the database's word, and marks one order after the other."""

import pathlib
import signal
import sys

import psycopg

PASSWORD = pathlib.Path("/run/secrets/database")
SHIP = """
UPDATE orders SET shipped = now()
WHERE id = (SELECT id FROM orders WHERE shipped IS NULL ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING id, item
"""


def main():
    """Ship what there is, then wait for more; the database says when (NOTIFY), or a minute has passed."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    password = PASSWORD.read_text().strip()
    with psycopg.connect(host="/run/postgresql", dbname="shop", user="shop", password=password, autocommit=True) as db:
        db.execute("LISTEN orders")
        while True:
            while (row := db.execute(SHIP).fetchone()) is not None:
                print(f"<6>order {row[0]} is shipped: {row[1]}", flush=True)
            for _ in db.notifies(timeout=60, stop_after=1):
                pass


main()
