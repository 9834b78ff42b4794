#!/usr/bin/env python3
"""Writes the Northwind trading data as commands: JSON lines on standard output.

    python3 samples/northwind/commands.py PHASE [--prefix P] [--orders FILE]

Each line is a CloudEvent: id, source, type (the short name of a command in
schemas/avro), mostly time, and data (the command's fields). Times are RFC 3339 text,
money is in cents. The phases, in the order in which later ones need earlier ones:

    stock        ReceiveStock: an order that finds no stock is cancelled for good
    register     RegisterCustomer, AddProduct
    place        PlaceOrder; the saga `fulfilment` then reserves, charges and confirms
    ship         ShipOrder, for every order with a shipped date
    discontinue  DiscontinueProduct
    all          everything above

A declined order is cancelled and cannot be shipped: `ship --orders FILE` ships only those
that the file names, one id a line; `-` is standard input.

Ids are always the same, so sending a phase twice changes nothing: the second time
every command is a duplicate. With --prefix every id (of streams and of commands)
starts with P, and the same data can be loaded once more beside the first load.
"""

import argparse
import csv
import json
import signal
import sys
from collections import defaultdict
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
CURRENCY = "USD"
OPENING_DATE = "1996-07-01"  # before the first order
CLOSING_DATE = "1998-05-07"  # after the last order and the last shipment


def read_csv(name):
    """The rows of one CSV file of this folder, as dictionaries of text."""
    with open(FOLDER / f"{name}.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def timestamp(date):
    """Midnight UTC of an ISO date, as RFC 3339 text."""
    return f"{date}T00:00:00Z"


def cents(price):
    """A decimal price as integer cents; refuses a price with fractions of a cent."""
    scaled = Decimal(price) * 100
    if scaled != scaled.to_integral_value():
        raise ValueError(f"price {price} has fractions of a cent")
    return int(scaled)


def basis_points(discount):
    """A discount such as 0.15 (or 0.15000000596) as basis points: 1500."""
    return int((Decimal(discount) * 10_000).to_integral_value(ROUND_HALF_UP))


def line_amount(line):
    """What an order line costs, in cents, rounded half up."""
    gross = line["quantity"] * line["unit_price"]
    return (gross * (10_000 - line["discount_bp"]) + 5_000) // 10_000


class Northwind:
    """The sample data and the commands made from it."""

    def __init__(self, prefix="", shippable=None):
        self.prefix = prefix
        self.shippable = shippable
        self.customers = read_csv("customers")
        self.products = read_csv("products")
        self.orders = read_csv("orders")
        self.categories = {row["category_id"]: row["category_name"] for row in read_csv("categories")}
        self.lines = defaultdict(list)
        for row in read_csv("order_lines"):
            self.lines[row["order_id"]].append(row)

    def command(self, record, key, date, **data):
        """One command about the thing that the CSV files call `key`; without a date it happens when it arrives."""
        command = {"id": self.prefix + f"northwind-{record}-{key}", "source": "northwind", "type": record}
        if date is not None:
            command["time"] = timestamp(date)
        return command | {"data": data}

    def stock(self):
        """The stock that orders reserve."""
        yield from map(self.receive_stock, self.products)

    def register(self):
        """Customers and products: what orders refer to."""
        yield from map(self.register_customer, self.customers)
        yield from map(self.add_product, self.products)

    def register_customer(self, row):
        """RegisterCustomer; the data knows no e-mail addresses, so this one is invented."""
        customer_id = self.prefix + row["customer_id"]
        return self.command(
            "RegisterCustomer", row["customer_id"], OPENING_DATE,
            customer_id=customer_id,
            name=row["company_name"],
            contact_name=row["contact_name"],
            email=f"{customer_id.lower()}@example.com",
            phone=row["phone"],
            city=row["city"],
            country=row["country"],
        )

    def add_product(self, row):
        """AddProduct with its list price, which differs from what older orders paid."""
        return self.command(
            "AddProduct", row["product_id"], OPENING_DATE,
            product_id=self.prefix + row["product_id"],
            name=row["product_name"],
            category=self.categories[row["category_id"]],
            price=cents(row["unit_price"]),
            currency=CURRENCY,
        )

    def receive_stock(self, row):
        """ReceiveStock of all that was ever ordered and of what is in stock after that."""
        return self.command(
            "ReceiveStock", row["product_id"], OPENING_DATE,
            product_id=self.prefix + row["product_id"],
            quantity=self.units_ordered(row["product_id"]) + int(row["units_in_stock"]),
        )

    def units_ordered(self, product_id):
        """Units of a product in all orders."""
        lines = (line for lines in self.lines.values() for line in lines)
        return sum(int(line["quantity"]) for line in lines if line["product_id"] == product_id)

    def place(self):
        """PlaceOrder for every order. `placed_at` is the order's date; the command's own time is now, since what becomes
        of the order is timed from there."""
        for order in self.orders:
            lines = [self.order_line(row) for row in self.lines[order["order_id"]]]
            yield self.command(
                "PlaceOrder", order["order_id"], None,
                order_id=self.prefix + order["order_id"],
                customer_id=self.prefix + order["customer_id"],
                currency=CURRENCY,
                placed_at=timestamp(order["order_date"]),
                lines=lines,
                total=sum(map(line_amount, lines)),
            )

    def order_line(self, row):
        """One line of a PlaceOrder."""
        return {
            "product_id": self.prefix + row["product_id"],
            "quantity": int(row["quantity"]),
            "unit_price": cents(row["unit_price"]),
            "discount_bp": basis_points(row["discount"]),
        }

    def ship(self):
        """ShipOrder for every order with a shipped date that is to be shipped; its stock left when it was confirmed."""
        for order in filter(self.is_shipped, self.orders):
            key, date = order["order_id"], order["shipped_date"]
            yield self.command("ShipOrder", key, date, order_id=self.prefix + key, shipped_at=timestamp(date))

    def is_shipped(self, order):
        """Whether an order has a shipped date, and is one of those that can be shipped when they are known."""
        known = self.shippable is None or self.prefix + order["order_id"] in self.shippable
        return known and order["shipped_date"] != ""

    def discontinue(self):
        """DiscontinueProduct for what is no longer sold, after the last order."""
        for row in self.products:
            if row["discontinued"] == "1":
                product_id = self.prefix + row["product_id"]
                yield self.command("DiscontinueProduct", row["product_id"], CLOSING_DATE, product_id=product_id)


PHASES = {
    "stock": Northwind.stock,
    "register": Northwind.register,
    "place": Northwind.place,
    "ship": Northwind.ship,
    "discontinue": Northwind.discontinue,
}


def commands(phase, prefix="", shippable=None):
    """The commands of one phase, or of all of them in order."""
    northwind = Northwind(prefix, shippable)
    for name, make in PHASES.items():
        if phase in (name, "all"):
            yield from make(northwind)


def ids_in(file):
    """The ids in a file, one a line; `-` is standard input and None is no file."""
    if file is None:
        return None
    text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    return set(text.split())


def main():
    """Prints the commands of the phase named on the command line."""
    parser = argparse.ArgumentParser(description="Writes Northwind as commands: JSON lines.")
    parser.add_argument("phase", choices=[*PHASES, "all"])
    parser.add_argument("--prefix", default="", help="put in front of every id")
    parser.add_argument("--orders", metavar="FILE", help="ship only these: one id a line; - is standard input")
    options = parser.parse_args()
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # a closed pipe (| head) is no error
    sys.stdout.reconfigure(encoding="utf-8")
    for command in commands(options.phase, options.prefix, ids_in(options.orders)):
        print(json.dumps(command, ensure_ascii=False, separators=(",", ":")))


if __name__ == "__main__":
    main()
