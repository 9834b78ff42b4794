#!/usr/bin/env python3
"""Tests of the Northwind sample: its files, its commands, its figures. Needs no service.

    python3 samples/northwind/test_northwind.py
"""

import contextlib
import html
import io
import json
import re
import sys
import unittest
from collections import Counter
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
SCHEMAS = FOLDER.parents[1] / "schemas" / "avro"
sys.path.insert(0, str(FOLDER))

import figures_csv  # noqa: E402
import figures_elasticsearch  # noqa: E402
import figures_postgres  # noqa: E402
import figures_provider  # noqa: E402
import reconcile  # noqa: E402
from commands import Northwind, basis_points, cents, commands, line_amount, read_csv  # noqa: E402

RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
ALL = list(commands("all"))


def data_of(record):
    """The data of all commands of one type."""
    return [command["data"] for command in ALL if command["type"] == record]


def schema_of(record):
    """The Avro schema of a command, wherever its context is."""
    [path] = SCHEMAS.glob(f"*/commands/{record}.avsc")
    return json.loads(path.read_text(encoding="utf-8"))


def fits(value, schema):
    """Whether a JSON value is what an Avro schema asks for, with no field more."""
    if isinstance(schema, list):
        return any(fits(value, branch) for branch in schema)
    if isinstance(schema, str):
        return fits(value, {"type": schema})
    if schema.get("logicalType") == "timestamp-micros":
        return isinstance(value, str) and RFC_3339.fullmatch(value) is not None
    return FITS[schema["type"]](value, schema)


def fits_record(value, schema):
    """A record: no field but its own, each fitting, and all that have no default."""
    fields = {field["name"]: field["type"] for field in schema["fields"]}
    needed = {field["name"] for field in schema["fields"] if "default" not in field}
    return needed <= value.keys() <= fields.keys() and all(fits(value[name], fields[name]) for name in value)


def fits_integer(bits):
    """An integer (true and false are none) that has this many bits at most."""
    return lambda value, _: type(value) is int and -(2 ** (bits - 1)) <= value < 2 ** (bits - 1)


FITS = {
    "record": fits_record,
    "array": lambda value, schema: isinstance(value, list) and all(fits(item, schema["items"]) for item in value),
    "string": lambda value, _: isinstance(value, str),
    "null": lambda value, _: value is None,
    "int": fits_integer(32),
    "long": fits_integer(64),
}


class Files(unittest.TestCase):
    """The CSV files."""

    def test_hold_the_known_numbers_of_rows(self):
        counts = {"customers": 91, "categories": 8, "products": 77, "orders": 830, "order_lines": 2155}
        self.assertEqual(counts, {name: len(read_csv(name)) for name in counts})

    def test_are_utf_8_with_accents(self):
        names = {row["customer_id"]: row["company_name"] for row in read_csv("customers")}
        self.assertEqual("Antonio Moreno Taquería", names["ANTON"])

    def test_have_iso_dates_and_no_shipment_before_its_order(self):
        for order in read_csv("orders"):
            self.assertRegex(order["order_date"], r"^199[678]-\d\d-\d\d$")
            self.assertTrue(order["shipped_date"] == "" or order["shipped_date"] >= order["order_date"])

    def test_refer_only_to_what_exists(self):
        customers, orders, products = (
            {row[f"{name[:-1]}_id"] for row in read_csv(name)} for name in ("customers", "orders", "products")
        )
        self.assertLessEqual({row["customer_id"] for row in read_csv("orders")}, customers)
        self.assertEqual({row["order_id"] for row in read_csv("order_lines")}, orders)
        self.assertEqual({row["product_id"] for row in read_csv("order_lines")}, products)


# The external systems in these tests: two orders are declined, one of them not shipped, and one mailbox does not exist.
DECLINED, NO_MAILBOX = {"10248", "11077"}, "VINET"


def entries_of_payment(order, amount):
    """The entries of a ledger about an order's payment: what was declined was never captured."""
    due = {"order": order["order_id"], "amount": amount}
    if order["order_id"] in DECLINED:
        return [{"kind": "authorisation", "status": "declined", **due}]
    return [
        {"kind": "authorisation", "status": "authorised", "reference": "a", **due},
        {"kind": "charge", "status": "captured", "reference": "c", **due},
    ]


def entry_of_mail(order):
    """A mail as a ledger states it."""
    address = f"{order['customer_id'].lower()}@example.com"
    return {"kind": "mail", "message_id": f"{order['order_id']}@shop", "to": [address]}


def ledger_entries():
    """What a ledger holds after every order."""
    totals = {order["order_id"]: order["total"] for order in data_of("PlaceOrder")}
    orders = read_csv("orders")
    payments = [entry for order in orders for entry in entries_of_payment(order, totals[order["order_id"]])]
    return payments + [entry_of_mail(order) for order in orders if order["customer_id"] != NO_MAILBOX]


class Figures(unittest.TestCase):
    """What the CSV files add up to, without declined orders and with some."""

    customers = {row["customer_id"] for row in read_csv("customers")}
    figures = figures_csv.csv_figures(set(), customers)
    less = figures_csv.csv_figures(DECLINED, customers - {NO_MAILBOX})

    def test_have_the_known_totals(self):
        known = {
            "orders shipped": 809, "orders confirmed, not shipped": 21, "orders cancelled": 0,
            "discontinued products": 8, "revenue": 126_579_329, "captured": 126_579_329,
            "units sold by product": 51_317, "received by product": 54_436, "available by product": 3_119,
            "reserved by product": 0, "orders by customer": 830, "mails": 830,
        }
        self.assertEqual(known, {name: sum(self.figures[name].values()) for name in known})

    def test_of_declined_orders_are_neither_sold_nor_paid_nor_shipped(self):
        known = {
            "orders": 830, "value of all orders": 126_579_329, "orders shipped": 808,
            "orders confirmed, not shipped": 20, "orders cancelled": 2, "revenue": 126_579_329 - 169_572,
            "captured": 126_579_329 - 169_572, "payments declined": 2, "units sold by product": 51_317 - 99,
            "released by product": 99, "available by product": 3_119 + 99, "orders by customer": 828,
            "cancelled orders by customer": 2, "mails": 825,
        }
        self.assertEqual(known, {name: sum(self.less[name].values()) for name in known})
        self.assertEqual({"confirmed": 828, "cancelled": 2}, self.less["daily fulfilment"])

    def test_balance_for_every_product_and_every_order(self):
        for key, received in self.less["received by product"].items():
            name = f"product {key}"
            shipped, on_hand = self.less["shipped by product"][key], self.less["on hand by product"][key]
            self.assertEqual(received - shipped, on_hand, name)
            self.assertEqual(on_hand, self.less["available by product"][key], name)
        captured, revenue = self.less["captured by order"], self.less["revenue"][""]
        self.assertEqual(revenue, sum(captured.values()))
        self.assertEqual([0, 0], [captured[key] for key in sorted(DECLINED)])

    def test_differ_from_the_unrounded_revenue_by_the_rounding_only(self):
        exact = sum(
            int(line["quantity"]) * figures_csv.Fraction(line["unit_price"])
            * (1 - figures_csv.Fraction(line["discount"]))
            for line in figures_csv.order_lines()
        )
        self.assertEqual(figures_csv.Fraction("1265793.0395"), exact)

    def test_split_without_rest(self):
        parts = ("revenue by country", "revenue by category", "daily sales by day", "order value by customer")
        for figures in (self.figures, self.less):
            for name in parts:
                self.assertEqual(figures["revenue"][""], sum(figures[name].values()), name)

    def test_have_the_known_sums_of_some_keys(self):
        self.assertEqual(23_028_469, self.figures["revenue by country"]["Germany"])
        self.assertEqual(26_786_820, self.figures["revenue by category"]["Beverages"])
        self.assertEqual((6, 427_300), self.customer("ALFKI"))
        self.assertEqual((0, 0), self.customer("PARIS"))
        self.assertEqual(1_577, self.figures["units sold by product"]["60"])

    def customer(self, customer_id):
        """A customer's orders and their value."""
        return tuple(self.figures[f"{name} by customer"][customer_id] for name in ("orders", "order value"))


class Commands(unittest.TestCase):
    """The commands, against the schemas and the rules of the domain."""

    def test_have_exactly_the_fields_of_their_schemas(self):
        schemas = {record: schema_of(record) for record in {command["type"] for command in ALL}}
        for command in ALL:
            self.assertTrue(fits(command["data"], schemas[command["type"]]), command)
            if command["type"] == "PlaceOrder":
                self.assertNotIn("time", command)
            else:
                self.assertRegex(command["time"], RFC_3339)
            self.assertEqual("northwind", command["source"])

    def test_have_unique_and_stable_ids(self):
        ids = {command["id"] for command in ALL}
        self.assertEqual((1892, 1892), (len(ids), len(ALL)))
        self.assertIn("northwind-PlaceOrder-10248", ids)
        self.assertEqual(ALL, list(commands("all")))

    def test_are_as_many_as_the_data_says(self):
        counts = {
            "ReceiveStock": 77, "RegisterCustomer": 91, "AddProduct": 77, "PlaceOrder": 830, "ShipOrder": 809,
            "DiscontinueProduct": 8,
        }
        self.assertEqual(counts, Counter(command["type"] for command in ALL))

    def test_of_all_are_the_phases_in_order(self):
        phases = ("stock", "register", "place", "ship", "discontinue")
        self.assertEqual(ALL, [command for phase in phases for command in commands(phase)])

    def test_ship_only_the_orders_that_are_named_and_have_a_shipped_date(self):
        shipped = commands("ship", shippable={"10248", "11077", "1"})  # 11077 has no shipped date, 1 is no order
        self.assertEqual(["10248"], [command["data"]["order_id"] for command in shipped])
        shipped = commands("ship", "x-", {"x-10248", "10249"})
        self.assertEqual(["x-10248"], [command["data"]["order_id"] for command in shipped])

    def test_register_customers_with_a_name_a_phone_and_a_mailbox_of_their_own(self):
        self.assertEqual(91, len({customer["email"] for customer in data_of("RegisterCustomer")}))
        for customer in data_of("RegisterCustomer"):
            self.assertGreaterEqual(len(customer["name"]), 2)
            self.assertTrue(customer["phone"].strip())
            self.assertRegex(customer["email"], r"^[a-z]{5}@example\.com$")

    def test_place_orders_of_distinct_products_with_the_right_total(self):
        for order in data_of("PlaceOrder"):
            products = [line["product_id"] for line in order["lines"]]
            self.assertEqual(len(products), len(set(products)), order["order_id"])
            self.assertTrue(all(line["quantity"] > 0 and 0 <= line["discount_bp"] <= 10_000 for line in order["lines"]))
            self.assertEqual(sum(map(line_amount, order["lines"])), order["total"])

    def test_agree_with_the_other_arithmetic_order_by_order(self):
        lines = figures_csv.order_lines()
        by_order = figures_csv.total_by([line["order_id"] for line in lines], [line["cents"] for line in lines])
        self.assertEqual(by_order, {order["order_id"]: order["total"] for order in data_of("PlaceOrder")})

    def test_bring_stock_for_every_order_and_leave_what_the_data_says(self):
        on_hand = {receipt["product_id"]: receipt["quantity"] for receipt in data_of("ReceiveStock")}
        self.assertEqual(Figures.figures["received by product"], on_hand)
        for order in data_of("PlaceOrder"):
            for line in order["lines"]:
                on_hand[line["product_id"]] -= line["quantity"]
        self.assertEqual(Figures.figures["available by product"], on_hand)

    def test_with_a_prefix_have_it_in_front_of_every_id(self):
        plain, prefixed = Northwind(), Northwind("x-")
        for one, other in zip(plain.place(), prefixed.place()):
            self.assertEqual("x-" + one["id"], other["id"])
            text = json.dumps(one["data"])
            expected = re.sub(r'("(?:order|customer|product)_id": ")', r"\1x-", text)
            self.assertEqual(json.loads(expected), other["data"])
        for command in commands("all", "x-"):
            self.assertTrue(all(found.startswith("x-") for found in ids_in(command["data"])), command)

    def test_round_prices_and_discounts_as_the_domain_does(self):
        self.assertEqual((1400, 980), (cents("14"), cents("9.8000")))
        self.assertRaises(ValueError, cents, "1.005")
        self.assertEqual((1500, 500, 0), (basis_points("0.15000000596"), basis_points("0.05"), basis_points("0")))
        self.assertEqual(1, line_amount({"quantity": 1, "unit_price": 1, "discount_bp": 5000}))


def ids_in(data):
    """Every id of a stream in a command's data."""
    for name, value in data.items():
        if name == "lines":
            yield from (line["product_id"] for line in value)
        elif name.endswith("_id"):
            yield value


class Provider(unittest.TestCase):
    """What the ledger of the external systems says."""

    def test_agrees_with_the_csv_files(self):
        figures = figures_provider.provider_figures(ledger_entries())
        self.assertEqual({name: Figures.less[name] for name in figures}, figures)
        self.assertEqual(DECLINED, figures_provider.declined(ledger_entries()))

    def test_shows_an_order_that_was_charged_twice(self):
        entries = ledger_entries()
        again = next(entry for entry in entries if entry["kind"] == "charge" and entry["status"] == "captured")
        figures = figures_provider.provider_figures([*entries, again])
        self.assertEqual(2 * again["amount"], figures["captured by order"][again["order"]])

    def test_counts_refunds_against_what_was_captured(self):
        figures = figures_provider.provider_figures([*ledger_entries(), {"kind": "refund", "amount": 70}])
        self.assertEqual(70, figures["refunded"][""])
        self.assertEqual(Figures.less["revenue"][""] - 70, figures["captured less refunded"][""])

    def test_counts_a_mail_by_its_name_once(self):
        entries = ledger_entries()
        self.assertEqual(len(figures_provider.mails(entries)), len(figures_provider.mails([*entries, entries[-1]])))

    def test_is_missed_when_there_is_no_ledger(self):
        self.assertRaises(figures_provider.Unreachable, figures_provider.ledger, FOLDER / "no-ledger.jsonl")
        self.assertRaises(figures_provider.Unreachable, figures_provider.ledger, FOLDER / "README.md")


class Reconciliation(unittest.TestCase):
    """The comparison, with stores made of the same figures."""

    def run_with(self, figure, **planted):
        """Compares one figure; the stores hold what the CSV files say plus what is planted in them."""
        [found] = [one for one in reconcile.FIGURES if one.name == figure]
        said = Figures.less[figure]
        stores = {store: {figure: {**said, **planted.get(store, {})}} for store in ("CSV", *found.held_by)}
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            verdict = reconcile.compare(found, stores)
        return verdict, printed.getvalue()

    def test_covers_every_figure_of_every_store(self):
        def held(store):
            return {figure.name for figure in reconcile.FIGURES if store in figure.held_by}

        self.assertEqual({figure.name for figure in reconcile.FIGURES}, Figures.figures.keys())
        self.assertEqual(held("Postgres"), figures_postgres.QUERIES.keys())
        self.assertEqual(held("provider"), figures_provider.provider_figures([]).keys())

    def test_finds_all_equal(self):
        for figure in reconcile.FIGURES:
            verdict, printed = self.run_with(figure.name)
            self.assertTrue(verdict, figure.name)
            self.assertNotIn("DIFFERENT", printed)
        self.assertIn("77 of 77 products equal", self.run_with("available by product")[1])

    def test_finds_one_cent_in_every_store(self):
        cent_more = {"": Figures.less["captured"][""] + 1}
        for store in reconcile.EVERYWHERE:
            self.assertFalse(self.run_with("captured", **{store: cent_more})[0], store)

    def test_shows_the_keys_that_differ_and_only_those(self):
        verdict, printed = self.run_with("reserved by product", Elasticsearch={"60": 1, "999": 0})
        self.assertFalse(verdict)
        self.assertIn("DIFFERENT: 76 of 78 products equal", printed)
        self.assertEqual(3, len(printed.splitlines()))
        self.assertIn("missing", printed)

    def test_the_picture_of_the_readme_shows_what_is_compared_today(self):
        drawn = (FOLDER.parents[1] / "docs" / "demo.svg").read_text(encoding="utf-8")
        lines = [html.unescape(line) for line in re.findall(r"<text[^>]*>(.*?)</text>", drawn)]
        for figure in reconcile.FIGURES:
            self.assertTrue(any(line.startswith(figure.name) for line in lines), figure.name)
        self.assertFalse([line for line in lines if "DIFFERENT" in line])

    def test_refuses_a_sum_that_is_not_exact(self):
        for value in (0.5, 2.0**53):
            with self.assertRaises(figures_elasticsearch.Unreachable):
                figures_elasticsearch.whole({"value": value})


if __name__ == "__main__":
    unittest.main()
