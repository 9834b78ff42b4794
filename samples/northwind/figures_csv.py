"""What the CSV files say: the figures that the read models must show.

The arithmetic here is its own (exact fractions of dollars); it shares no code with
commands.py, so a mistake there cannot hide itself. A figure is a dictionary from a
key (a country, a product) to an integer; a figure that is one number has the key "".
"""

import csv
from collections import Counter
from fractions import Fraction
from math import floor
from pathlib import Path

FOLDER = Path(__file__).resolve().parent


def table(name, key):
    """A CSV file as a dictionary of its rows by their key column."""
    with open(FOLDER / f"{name}.csv", encoding="utf-8", newline="") as file:
        return {row[key]: row for row in csv.DictReader(file)}


def order_lines():
    """The rows of order_lines.csv, each with its amount in cents."""
    with open(FOLDER / "order_lines.csv", encoding="utf-8", newline="") as file:
        return [{**row, "cents": amount_cents(row)} for row in csv.DictReader(file)]


def amount_cents(line):
    """Quantity times price less discount, to the nearest cent, halves upward."""
    discount = Fraction(round(Fraction(line["discount"]) * 10_000), 10_000)
    dollars = int(line["quantity"]) * Fraction(line["unit_price"]) * (1 - discount)
    return floor(dollars * 100 + Fraction(1, 2))


def total_by(keys, values):
    """Sums values that have the same key."""
    totals = Counter()
    for key, value in zip(keys, values):
        totals[key] += value
    return dict(totals)


def csv_figures():
    """All figures, from the CSV files alone."""
    customers, products = table("customers", "customer_id"), table("products", "product_id")
    orders, lines = table("orders", "order_id"), order_lines()
    return {
        **counts(customers, products, orders, lines),
        **sales(customers, products, orders, lines),
        **stock(products, orders, lines),
        **customer_totals(customers, orders, lines),
    }


def counts(customers, products, orders, lines):
    """How many there are of each."""
    shipped = sum(1 for order in orders.values() if order["shipped_date"])
    discontinued = sum(int(product["discontinued"]) for product in products.values())
    numbers = {
        "customers": len(customers),
        "products": len(products),
        "discontinued products": discontinued,
        "orders": len(orders),
        "order lines": len(lines),
        "orders shipped": shipped,
        "orders confirmed, not shipped": len(orders) - shipped,
    }
    return {name: {"": number} for name, number in numbers.items()}


def sales(customers, products, orders, lines):
    """What was sold, in cents: in total, by the customer's country and by category."""
    categories = table("categories", "category_id")
    cents = [line["cents"] for line in lines]
    buyers = [customers[orders[line["order_id"]]["customer_id"]] for line in lines]
    kinds = [categories[products[line["product_id"]]["category_id"]] for line in lines]
    revenue = {"": sum(cents)}
    by_category = total_by([kind["category_name"] for kind in kinds], cents)
    return {
        "revenue": revenue,
        "revenue by country": total_by([buyer["country"] for buyer in buyers], cents),
        "revenue by category": by_category,
        "daily sales": revenue,
        "daily sales by category": by_category,
    }


def stock(products, orders, lines):
    """Units sold, still available and still reserved (ordered, not shipped), by product."""
    sold = [line["product_id"] for line in lines]
    units = [int(line["quantity"]) for line in lines]
    waiting = [0 if orders[line["order_id"]]["shipped_date"] else 1 for line in lines]
    return {
        "units by product": total_by(sold, units),
        "available by product": {key: int(row["units_in_stock"]) for key, row in products.items()},
        "reserved by product": total_by(sold, [a * b for a, b in zip(units, waiting)]),
    }


def customer_totals(customers, orders, lines):
    """Orders and their value in cents, by customer; two customers never ordered."""
    none = dict.fromkeys(customers, 0)
    buyers = [order["customer_id"] for order in orders.values()]
    line_buyers = [orders[line["order_id"]]["customer_id"] for line in lines]
    return {
        "orders by customer": {**none, **Counter(buyers)},
        "order value by customer": {**none, **total_by(line_buyers, [line["cents"] for line in lines])},
    }
