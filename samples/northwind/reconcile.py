#!/usr/bin/env python3
"""Compares the read models with the Northwind CSV files, figure by figure.

    READ_DATABASE_URL=... ELASTICSEARCH_URL=... python3 samples/northwind/reconcile.py [--namespace millrace]

Expects what `commands.py all` leads to, and nothing else, in the namespace: a schema in
Postgres, and in Elasticsearch the prefix of the indices' aliases. Money is in cents, and
every figure is compared as an integer. Ends with 0 when all are equal, with 1 when one
is different, with 2 when something cannot be reached.

Needs one package from outside, psycopg; `scripts/demo` installs it into a virtual environment.
"""

import argparse
import os
import sys
from collections import namedtuple

import figures_elasticsearch
import figures_postgres
from figures_csv import csv_figures

Figure = namedtuple("Figure", "name shown noun in_elasticsearch", defaults=("keys", "", True))

FIGURES = [
    Figure("customers"),
    Figure("products"),
    Figure("discontinued products"),
    Figure("orders"),
    Figure("order lines"),
    Figure("orders shipped"),
    Figure("orders confirmed, not shipped"),
    Figure("revenue"),
    Figure("revenue by country"),
    Figure("revenue by category"),
    Figure("daily sales", in_elasticsearch=False),
    Figure("daily sales by category", in_elasticsearch=False),
    Figure("units by product", "summary", "products"),
    Figure("available by product", "summary", "products"),
    Figure("reserved by product", "summary", "products"),
    Figure("orders by customer", "summary", "customers"),
    Figure("order value by customer", "summary", "customers"),
]

Row = namedtuple("Row", "name values")


def rows(figure, stores):
    """One row per key that any store has: what each store says, None where it has nothing."""
    answers = [store[figure.name] for store in stores]
    keys = sorted(set().union(*answers), key=lambda key: (key is None, key))
    return [Row(label(figure, key), [answer.get(key) for answer in answers]) for key in keys]


def label(figure, key):
    """What the table calls one number of a figure."""
    return figure.name if key == "" else f"{figure.name}: {key}"


def equal(row):
    """Whether all stores say the same."""
    return len(set(row.values)) == 1


def print_line(name, values, verdict):
    """One line of the table; a figure that a store does not hold is shown as a dash."""
    columns = [*values, "-"][:3]
    cells = ["missing" if value is None else value for value in columns]
    print(f"{name:<40}{cells[0]:>15}{cells[1]:>15}{cells[2]:>15}  {verdict}")


def print_rows(compared):
    """Every number of a figure with its verdict."""
    for row in compared:
        print_line(row.name, row.values, "equal" if equal(row) else "DIFFERENT")


def print_summary(figure, compared):
    """The sums over all keys, how many keys are equal, and the keys that are not."""
    different = [row for row in compared if not equal(row)]
    sums = [sum(value or 0 for value in column) for column in zip(*(row.values for row in compared))]
    verdict = f"{len(compared) - len(different)} of {len(compared)} {figure.noun} equal"
    print_line(figure.name, sums, f"DIFFERENT: {verdict}" if different else verdict)
    print_rows(different)


def compare(figure, csv, postgres, elasticsearch):
    """Prints one figure; tells whether it is equal everywhere."""
    stores = [csv, postgres, elasticsearch] if figure.in_elasticsearch else [csv, postgres]
    compared = rows(figure, stores)
    if figure.shown == "summary":
        print_summary(figure, compared)
    else:
        print_rows(compared)
    return all(map(equal, compared))


def setting(name):
    """An environment variable that must be there."""
    if not os.environ.get(name):
        raise figures_postgres.Unreachable(f"{name} is not set; scripts/stack env prints it")
    return os.environ[name]


def reconcile(namespace):
    """Reads all three, prints the table, and tells whether everything is equal."""
    csv = csv_figures()
    postgres = figures_postgres.postgres_figures(setting("READ_DATABASE_URL"), namespace)
    elasticsearch = figures_elasticsearch.elasticsearch_figures(setting("ELASTICSEARCH_URL"), namespace)
    print_line("figure (money in cents)", ["CSV", "Postgres", "Elasticsearch"], "")
    verdicts = [compare(figure, csv, postgres, elasticsearch) for figure in FIGURES]
    different = verdicts.count(False)
    print(f"{len(verdicts)} figures: " + (f"{different} DIFFERENT" if different else "all equal"))
    return not different


def main():
    """Runs the comparison and ends with its exit code."""
    parser = argparse.ArgumentParser(description="Compares the read models with the Northwind CSV files.")
    parser.add_argument("--namespace", default="millrace", help="schema and index prefix (default: millrace)")
    options = parser.parse_args()
    try:
        sys.exit(0 if reconcile(options.namespace) else 1)
    except (figures_postgres.Unreachable, figures_elasticsearch.Unreachable) as error:
        print(f"reconcile: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
