"""What the CSV files say: the figures that the read models must show.

The files do not say whose payment was declined, nor whose mailbox takes mails: the external systems do.
A declined order is cancelled, every other one is confirmed, and each customer is notified of each.

The arithmetic here is its own (exact fractions of dollars); it shares no code with
commands.py, so a mistake there cannot hide itself. A figure is a dictionary from a
key (a country, a product) to an integer; a figure that is one number has the key "".
"""

import csv
from collections import Counter
from datetime import date
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


def csv_figures(declined, reached):
    """All figures, from the CSV files, the orders that were declined and the customers whose mailbox takes mails."""
    customers, products = table("customers", "customer_id"), table("products", "product_id")
    orders, lines = table("orders", "order_id"), order_lines()
    confirmed = {key: order for key, order in orders.items() if key not in declined}
    sold = [line for line in lines if line["order_id"] in confirmed]
    unsold = [line for line in lines if line["order_id"] not in confirmed]
    return {
        **counts(customers, products, orders, lines),
        **fulfilment(confirmed, len(orders) - len(confirmed), sold, unsold),
        **sales(customers, products, confirmed, sold),
        **money(orders, confirmed, sold),
        **stock(products, lines, sold, unsold),
        **customer_totals(customers, orders, confirmed, sold),
        **habits(customers, products, orders, confirmed, sold),
        **notifications(orders, reached),
    }


def single(numbers):
    """Figures that are one number each."""
    return {name: {"": number} for name, number in numbers.items()}


def cents_of(lines):
    """What order lines cost together."""
    return sum(line["cents"] for line in lines)


def counts(customers, products, orders, lines):
    """How many there are of each."""
    return single({
        "customers": len(customers),
        "products": len(products),
        "discontinued products": sum(int(product["discontinued"]) for product in products.values()),
        "orders": len(orders),
        "order lines": len(lines),
        "value of all orders": cents_of(lines),
    })


def fulfilment(confirmed, cancelled, sold, unsold):
    """What became of the orders: confirmed ones with a shipped date were shipped."""
    shipped = sum(1 for order in confirmed.values() if order["shipped_date"])
    outcomes = {"confirmed": len(confirmed), "cancelled": cancelled}
    values = {"confirmed": cents_of(sold), "cancelled": cents_of(unsold)}
    happened = [outcome for outcome, number in outcomes.items() if number]
    return {
        **single({
            "orders shipped": shipped,
            "orders confirmed, not shipped": len(confirmed) - shipped,
            "orders cancelled": cancelled,
        }),
        "daily fulfilment": {outcome: outcomes[outcome] for outcome in happened},
        "daily fulfilment, value": {outcome: values[outcome] for outcome in happened},
    }


def sales(customers, products, confirmed, sold):
    """What was sold, in cents: in total, by the customer's country, by category and by the day of the order."""
    categories = table("categories", "category_id")
    cents = [line["cents"] for line in sold]
    orders = [confirmed[line["order_id"]] for line in sold]
    countries = [customers[order["customer_id"]]["country"] for order in orders]
    kinds = [categories[products[line["product_id"]]["category_id"]]["category_name"] for line in sold]
    by_category = total_by(kinds, cents)
    return {
        "revenue": {"": sum(cents)},
        "revenue by country": total_by(countries, cents),
        "revenue by category": by_category,
        "daily sales": {"": sum(cents)},
        "daily sales by category": by_category,
        "daily sales by day": total_by([order["order_date"] for order in orders], cents),
    }


def money(orders, confirmed, sold):
    """What was paid, in cents: confirmed orders are, declined ones never were, so that nothing had to go back."""
    values = total_by([line["order_id"] for line in sold], [line["cents"] for line in sold])
    revenue = sum(values.values())
    return {
        **single({
            "payments captured": len(confirmed),
            "payments declined": len(orders) - len(confirmed),
            "captured": revenue,
            "refunded": 0,
            "captured less refunded": revenue,
        }),
        "captured by order": {key: values.get(key, 0) for key in orders},
    }


def units_of(lines):
    """Units by product."""
    return total_by([line["product_id"] for line in lines], [int(line["quantity"]) for line in lines])


def stock(products, lines, sold, unsold):
    """Units by product: all that was ordered and what the files have in stock was received; what was sold has left."""
    ordered, left = units_of(lines), units_of(sold)
    received = {key: ordered.get(key, 0) + int(row["units_in_stock"]) for key, row in products.items()}
    on_hand = {key: received[key] - left.get(key, 0) for key in products}
    reserved = dict.fromkeys(products, 0)
    return {
        "units sold by product": left,
        "received by product": received,
        "shipped by product": left,
        "released by product": units_of(unsold),
        "on hand by product": on_hand,
        "reserved by product": reserved,
        "available by product": {key: on_hand[key] - reserved[key] for key in products},
    }


def customer_totals(customers, orders, confirmed, sold):
    """Orders and their value in cents, by customer, without cancelled ones; two customers never ordered."""
    none = dict.fromkeys(customers, 0)
    buyers = Counter(order["customer_id"] for order in confirmed.values())
    all_buyers = Counter(order["customer_id"] for order in orders.values())
    line_buyers = [confirmed[line["order_id"]]["customer_id"] for line in sold]
    value = {**none, **total_by(line_buyers, [line["cents"] for line in sold])}
    return {
        "orders by customer": {**none, **buyers},
        "cancelled orders by customer": {key: all_buyers[key] - buyers[key] for key in customers},
        "order value by customer": value,
        "paid by customer": value,
        "lifetime value by customer": value,
    }


def habits(customers, products, orders, confirmed, sold):
    """The mean value of orders that were not cancelled, the seconds between orders, cancelled or not, and what is bought most."""
    value = total_by([confirmed[line["order_id"]]["customer_id"] for line in sold], [line["cents"] for line in sold])
    number = Counter(order["customer_id"] for order in confirmed.values())
    return {
        "mean order value by customer": {
            key: floor(Fraction(value[key], number[key]) + Fraction(1, 2)) if number[key] else 0 for key in customers
        },
        "order interval by customer": intervals(orders.values()),
        "units of favourite category by customer": favourites(products, confirmed, sold),
    }


def intervals(orders):
    """Whole seconds from one order to the next, on average, of customers with at least two."""
    days = {}
    for order in orders:
        days.setdefault(order["customer_id"], []).append(date.fromisoformat(order["order_date"]))
    return {
        key: (max(of) - min(of)).days * 86_400 // (len(of) - 1) for key, of in days.items() if len(of) > 1
    }


def favourites(products, confirmed, sold):
    """The category of which a customer bought most units, as part of the key; of equal ones that of more lines, then by name."""
    categories, bought = table("categories", "category_id"), {}
    for line in sold:
        category = categories[products[line["product_id"]]["category_id"]]["category_name"]
        units = bought.setdefault(confirmed[line["order_id"]]["customer_id"], {}).setdefault(category, [0, 0])
        units[0] -= int(line["quantity"])
        units[1] -= 1
    best = {key: min((*units, category) for category, units in of.items()) for key, of in bought.items()}
    return {f"{key}: {category}": -units for key, (units, _, category) in best.items()}


def notifications(orders, reached):
    """One mail for each order, confirmed or cancelled, to those whose mailbox takes mails."""
    buyers = [order["customer_id"] for order in orders.values() if order["customer_id"] in reached]
    return {"mails": {"": len(buyers)}, "mails by customer": dict(Counter(buyers))}
