"""The shop's orders in PostgreSQL, at a socket of this machine, with the password that systemd hands over."""

import os
from pathlib import Path

import psycopg

SCHEMA = """
CREATE TABLE IF NOT EXISTS orders (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    item text NOT NULL CHECK (item <> ''),
    ordered timestamptz NOT NULL DEFAULT now(),
    shipped timestamptz
)
"""


def connect():
    """A connection; as a context manager it commits, or takes back what an exception cut short."""
    password = Path(os.environ["CREDENTIALS_DIRECTORY"], "database").read_text().strip()
    return psycopg.connect(host="/run/postgresql", dbname="shop", user="shop", password=password)


def count(db):
    """How many orders there are, and how many of them are shipped."""
    return db.execute("SELECT count(*), count(shipped) FROM orders").fetchone()
