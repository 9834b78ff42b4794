"""The figures as the read model in Postgres shows them, read from its SQL views."""

import re
from contextlib import contextmanager

CONFIRMED = "fulfilment = 'confirmed'"


def dollars_by_customer(column):
    """The query for one of the customers' sums of money, which have an amount for each currency."""
    return f"""
        SELECT customer_id, sum((value->>'amount')::bigint) FILTER (WHERE value->>'currency' = 'USD')
          FROM customers LEFT JOIN LATERAL jsonb_array_elements({column}) AS value ON true
         GROUP BY customer_id"""


def reserved_units(status):
    """The query for the units that reservations hold in one status, by product."""
    return f"""
        SELECT product_id, sum(quantity)
          FROM stock_reservations CROSS JOIN LATERAL
               jsonb_to_recordset(lines) AS line (product_id text, quantity bigint, status text)
         WHERE line.status = '{status}'
         GROUP BY product_id"""


# What was received is on hand, or was taken away by a reservation; what came back is on hand again.
RECEIVED = f"""
    SELECT product_id, on_hand + coalesce(shipped.units, 0)
      FROM products LEFT JOIN ({reserved_units('shipped')}) AS shipped (product_id, units) USING (product_id)"""

FULFILMENT_VALUE = """
    SELECT outcome, sum((value->>'amount')::bigint) FILTER (WHERE value->>'currency' = 'USD')
      FROM fulfilment_daily CROSS JOIN LATERAL jsonb_array_elements(total) AS value
     GROUP BY outcome"""

QUERIES = {
    "customers": "SELECT '', count(*) FROM customers",
    "products": "SELECT '', count(*) FROM products",
    "discontinued products": "SELECT '', count(*) FROM products WHERE discontinued",
    "orders": "SELECT '', count(*) FROM orders",
    "order lines": "SELECT '', count(*) FROM order_lines",
    "value of all orders": "SELECT '', sum(total) FROM orders",
    "orders shipped": "SELECT '', count(*) FROM orders WHERE status = 'shipped'",
    "orders confirmed, not shipped": "SELECT '', count(*) FROM orders WHERE status = 'confirmed'",
    "orders cancelled": "SELECT '', count(*) FROM orders WHERE status = 'cancelled'",
    "daily fulfilment": "SELECT outcome, sum(orders) FROM fulfilment_daily GROUP BY 1",
    "daily fulfilment, value": FULFILMENT_VALUE,
    "revenue": f"SELECT '', sum(total) FROM orders WHERE {CONFIRMED}",
    "revenue by country": f"SELECT customer_country, sum(total) FROM orders WHERE {CONFIRMED} GROUP BY 1",
    "revenue by category":
        f"SELECT category, sum(amount) FROM order_lines JOIN orders USING (order_id) WHERE {CONFIRMED} GROUP BY 1",
    "daily sales": "SELECT '', sum(revenue) FROM sales_daily",
    "daily sales by category": "SELECT category, sum(revenue) FROM sales_daily GROUP BY 1",
    "daily sales by day": "SELECT day::text, sum(revenue) FROM sales_daily GROUP BY 1",
    "payments captured": "SELECT '', count(*) FROM payments WHERE status = 'captured'",
    "payments declined": "SELECT '', count(*) FROM payments WHERE status = 'declined'",
    "captured": "SELECT '', sum(captured) FROM payments",
    "refunded": "SELECT '', sum(refunded) FROM payments",
    "captured less refunded": "SELECT '', sum(captured - refunded) FROM payments",
    "captured by order": "SELECT order_id, captured FROM orders",
    "units sold by product":
        f"SELECT product_id, sum(quantity) FROM order_lines JOIN orders USING (order_id) WHERE {CONFIRMED} GROUP BY 1",
    "received by product": RECEIVED,
    "shipped by product": reserved_units("shipped"),
    "released by product": reserved_units("released"),
    "on hand by product": "SELECT product_id, on_hand FROM products",
    "reserved by product": "SELECT product_id, reserved FROM products",
    "available by product": "SELECT product_id, available FROM products",
    "orders by customer": "SELECT customer_id, order_count FROM customers",
    "cancelled orders by customer": "SELECT customer_id, orders_cancelled FROM customers",
    "order value by customer": dollars_by_customer("order_value"),
    "paid by customer": dollars_by_customer("paid"),
    "lifetime value by customer": dollars_by_customer("lifetime_value"),
    "mean order value by customer": dollars_by_customer("order_means"),
    "order interval by customer": "SELECT customer_id, order_interval FROM customers WHERE order_interval IS NOT NULL",
    "units of favourite category by customer":
        "SELECT customer_id || ': ' || category, units FROM customer_categories WHERE rank = 1",
    "mails": "SELECT '', sum(notifications_sent) FROM customers",
    "mails by customer": "SELECT customer_id, notifications_sent FROM customers WHERE notifications_sent > 0",
}


class Unreachable(Exception):
    """Postgres, its driver or the read model in it is not there."""


def driver():
    """The Postgres driver, or a message that says how to get it."""
    try:
        import psycopg
    except ImportError as error:
        raise Unreachable(
            f"the Python package psycopg does not load ({error}). scripts/demo installs it into a virtual\n"
            "environment; by hand: python3 -m venv ENV && ENV/bin/pip install 'psycopg[binary]',\n"
            "then run this script with ENV/bin/python"
        ) from error
    return psycopg


@contextmanager
def reading(url, namespace):
    """A connection that sees one snapshot of the schema `namespace`."""
    psycopg = driver()
    try:
        with psycopg.connect(url, connect_timeout=10) as connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.read_only = True
            use_schema(connection, namespace)
            yield connection
    except psycopg.Error as error:
        raise Unreachable(f"cannot read schema {namespace} in Postgres: {first_line(error)}") from error


def postgres_figures(url, namespace):
    """All figures, from one snapshot of the schema `namespace`."""
    with reading(url, namespace) as connection:
        return {name: figure(connection, query) for name, query in QUERIES.items()}


def confirmed_orders(url, namespace):
    """The ids of the orders that were confirmed, whether or not they are shipped."""
    with reading(url, namespace) as connection:
        rows = connection.execute(f"SELECT order_id FROM orders WHERE {CONFIRMED} ORDER BY order_id")
        return [order_id for (order_id,) in rows]


def first_line(error):
    """What an error says, without the quotation of the query."""
    return str(error).partition("\n")[0]


def use_schema(connection, namespace):
    """Lets this transaction find the views of `namespace` by their bare names."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*", namespace):
        raise Unreachable(f"{namespace!r} is not a namespace")
    connection.execute("SELECT set_config('search_path', %s, true)", [f'"{namespace}"'])


def figure(connection, query):
    """One figure: the query's rows as key and integer; NULL (nothing to sum) is 0."""
    return {key: int(value or 0) for key, value in connection.execute(query)}
