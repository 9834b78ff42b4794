#!/usr/bin/env python3
"""Prints the orders that were confirmed, one id a line: what `commands.py ship --orders -` ships.

    READ_DATABASE_URL=... python3 samples/northwind/confirmed.py [--namespace millrace]

Needs the Python package psycopg, as reconcile.py does.
"""

import argparse
import sys

import figures_postgres
from reconcile import setting


def main():
    """Prints the ids; ends with 2 when the read model cannot be reached."""
    parser = argparse.ArgumentParser(description="Prints the ids of confirmed orders.")
    parser.add_argument("--namespace", default="millrace", help="schema in Postgres (default: millrace)")
    options = parser.parse_args()
    try:
        print("\n".join(figures_postgres.confirmed_orders(setting("READ_DATABASE_URL"), options.namespace)))
    except figures_postgres.Unreachable as error:
        print(f"confirmed: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
