#!/usr/bin/env python3
"""Compares the read models with the Northwind CSV files and with the provider's ledger, figure by figure.

    READ_DATABASE_URL=... ELASTICSEARCH_URL=... \\
        python3 samples/northwind/reconcile.py --ledger FILE [--namespace millrace]

Expects what the phases of `commands.py` lead to, and nothing else, in the namespace: a schema
in Postgres, and in Elasticsearch the prefix of the indices' aliases. FILE is the ledger of
`millrace-simulator`: it says which orders were declined, which no CSV file can know, what was
charged, and what was mailed. Money is in cents, and every figure is compared as an integer.
Ends with 0 when all are equal, with 1 when one is different, with 2 when something cannot be
reached.

Needs one package, psycopg; `scripts/demo` installs it into a virtual environment.
"""

import argparse
import os
import sys
from collections import namedtuple

import figures_elasticsearch
import figures_postgres
import figures_provider
from figures_csv import csv_figures

STORES = ("CSV", "Postgres", "Elasticsearch", "provider")
EVERYWHERE = ("Postgres", "Elasticsearch", "provider")
POSTGRES = ("Postgres",)

Figure = namedtuple("Figure", "name shown noun held_by", defaults=("keys", "", ("Postgres", "Elasticsearch")))


def summary(noun, *names, held_by=("Postgres", "Elasticsearch")):
    """Figures with so many keys that only their sums and what differs are shown."""
    return [Figure(name, "summary", noun, held_by) for name in names]


FIGURES = [
    Figure("customers"),
    Figure("products"),
    Figure("discontinued products"),
    Figure("orders"),
    Figure("order lines"),
    Figure("value of all orders"),
    Figure("orders shipped"),
    Figure("orders confirmed, not shipped"),
    Figure("orders cancelled"),
    Figure("daily fulfilment", held_by=POSTGRES),
    Figure("daily fulfilment, value", held_by=POSTGRES),
    Figure("revenue"),
    Figure("revenue by country"),
    Figure("revenue by category"),
    Figure("daily sales", held_by=POSTGRES),
    Figure("daily sales by category", held_by=POSTGRES),
    *summary("days", "daily sales by day", held_by=POSTGRES),
    Figure("payments captured", held_by=EVERYWHERE),
    Figure("payments declined", held_by=EVERYWHERE),
    Figure("captured", held_by=EVERYWHERE),
    Figure("refunded", held_by=EVERYWHERE),
    Figure("captured less refunded", held_by=EVERYWHERE),
    *summary("orders", "captured by order", held_by=EVERYWHERE),
    *summary("products", "units sold by product"),
    *summary("products", "received by product", "shipped by product", "released by product", held_by=POSTGRES),
    *summary("products", "on hand by product", "reserved by product", "available by product"),
    *summary("customers", "orders by customer", "cancelled orders by customer"),
    *summary("customers", "order value by customer", "paid by customer", "lifetime value by customer"),
    *summary("customers", "mean order value by customer", "order interval by customer"),
    *summary("customers", "units of favourite category by customer", held_by=POSTGRES),
    Figure("mails", held_by=EVERYWHERE),
    *summary("customers", "mails by customer", held_by=EVERYWHERE),
]

Row = namedtuple("Row", "name values")


def rows(figure, stores):
    """One row per key that any store has: what each store that holds the figure says, None where it has nothing."""
    answers = {store: stores[store][figure.name] for store in ("CSV", *figure.held_by)}
    keys = sorted(set().union(*answers.values()), key=lambda key: (key is None, key))
    return [Row(label(figure, key), {store: answer.get(key) for store, answer in answers.items()}) for key in keys]


def label(figure, key):
    """What the table calls one number of a figure."""
    return figure.name if key == "" else f"{figure.name}: {key}"


def equal(row):
    """Whether all stores say the same."""
    return len(set(row.values.values())) == 1


def print_line(name, values, verdict):
    """One line of the table; a figure that a store does not hold is shown as a dash."""
    cells = ["missing" if value is None else value for value in (values.get(store, "-") for store in STORES)]
    print(f"{name:<40}" + "".join(f"{cell:>15}" for cell in cells) + f"  {verdict}")


def print_rows(compared):
    """Every number of a figure with its verdict."""
    for row in compared:
        print_line(row.name, row.values, "equal" if equal(row) else "DIFFERENT")


def print_summary(figure, compared):
    """The sums over all keys, how many keys are equal, and the keys that are not."""
    different = [row for row in compared if not equal(row)]
    sums = {store: sum(row.values[store] or 0 for row in compared) for store in ("CSV", *figure.held_by)}
    verdict = f"{len(compared) - len(different)} of {len(compared)} {figure.noun} equal"
    print_line(figure.name, sums, f"DIFFERENT: {verdict}" if different else verdict)
    print_rows(different)


def compare(figure, stores):
    """Prints one figure; returns whether it is equal everywhere."""
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


def read(namespace, ledger):
    """What each store says; the CSV files, once they know what the provider and the mail server have declined."""
    entries = figures_provider.ledger(ledger)
    return {
        "CSV": csv_figures(figures_provider.declined(entries), set(figures_provider.mails(entries))),
        "Postgres": figures_postgres.postgres_figures(setting("READ_DATABASE_URL"), namespace),
        "Elasticsearch": figures_elasticsearch.elasticsearch_figures(setting("ELASTICSEARCH_URL"), namespace),
        "provider": figures_provider.provider_figures(entries),
    }


def reconcile(stores):
    """Prints the table, and returns whether everything is equal."""
    print_line("figure (money in cents)", {store: store for store in STORES}, "")
    verdicts = [compare(figure, stores) for figure in FIGURES]
    different = verdicts.count(False)
    print(f"{len(verdicts)} figures: " + (f"{different} DIFFERENT" if different else "all equal"))
    return not different


def main():
    """Runs the comparison and ends with its exit code."""
    parser = argparse.ArgumentParser(description="Compares the read models with the Northwind CSV files.")
    parser.add_argument("--namespace", default="millrace", help="schema and index prefix (default: millrace)")
    parser.add_argument("--ledger", required=True, metavar="FILE", help="the ledger of millrace-simulator")
    options = parser.parse_args()
    try:
        sys.exit(0 if reconcile(read(options.namespace, options.ledger)) else 1)
    except (figures_postgres.Unreachable, figures_elasticsearch.Unreachable, figures_provider.Unreachable) as error:
        print(f"reconcile: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
