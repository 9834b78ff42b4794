"""The figures as the read model in Postgres shows them, read from its SQL views."""

import re

QUERIES = {
    "customers": "SELECT '', count(*) FROM customers",
    "products": "SELECT '', count(*) FROM products",
    "discontinued products": "SELECT '', count(*) FROM products WHERE discontinued",
    "orders": "SELECT '', count(*) FROM orders",
    "order lines": "SELECT '', count(*) FROM order_lines",
    "orders shipped": "SELECT '', count(*) FROM orders WHERE status = 'shipped'",
    "orders confirmed, not shipped": "SELECT '', count(*) FROM orders WHERE status = 'confirmed'",
    "revenue": "SELECT '', sum(total) FROM orders",
    "revenue by country": "SELECT customer_country, sum(total) FROM orders GROUP BY 1",
    "revenue by category": "SELECT category, sum(amount) FROM order_lines GROUP BY 1",
    "daily sales": "SELECT '', sum(revenue) FROM sales_daily",
    "daily sales by category": "SELECT category, sum(revenue) FROM sales_daily GROUP BY 1",
    "units by product": "SELECT product_id, sum(quantity) FROM order_lines GROUP BY 1",
    "available by product": "SELECT product_id, available FROM products",
    "reserved by product": "SELECT product_id, reserved FROM products",
    "orders by customer": "SELECT customer_id, order_count FROM customers",
    "order value by customer": """
        SELECT customer_id, sum((value->>'amount')::bigint) FILTER (WHERE value->>'currency' = 'USD')
          FROM customers LEFT JOIN LATERAL jsonb_array_elements(order_value) AS value ON true
         GROUP BY customer_id""",
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


def postgres_figures(url, namespace):
    """All figures, from one snapshot of the schema `namespace`."""
    psycopg = driver()
    try:
        with psycopg.connect(url, connect_timeout=10) as connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.read_only = True
            use_schema(connection, namespace)
            return {name: figure(connection, query) for name, query in QUERIES.items()}
    except psycopg.Error as error:
        raise Unreachable(f"cannot read schema {namespace} in Postgres: {first_line(error)}") from error


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
