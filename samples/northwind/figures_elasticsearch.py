"""The figures as the read model in Elasticsearch shows them: counts, sums and documents.

Sums come back as doubles; cents and units of this sample are far below 2^53, so they
are exact, and whole() refuses what is not.
"""

import base64
import json
import urllib.error
import urllib.parse
import urllib.request

ALL_KEYS = 10_000  # more than there are countries, categories, products, customers or orders


class Unreachable(Exception):
    """Elasticsearch or an index in it is not there, or answers what cannot be."""


class Elasticsearch:
    """The indices of one namespace."""

    def __init__(self, url, namespace):
        parts = urllib.parse.urlsplit(url)
        self.base = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}/{namespace}-"
        self.headers = {"content-type": "application/json"}
        if parts.username:
            user = urllib.parse.unquote(f"{parts.username}:{parts.password or ''}")
            self.headers["authorization"] = "Basic " + base64.b64encode(user.encode()).decode()

    def post(self, path, body=None):
        """The JSON answer to one request."""
        data = json.dumps(body).encode() if body else b""
        try:
            request = urllib.request.Request(self.base + path, data, self.headers, method="POST")
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)
        except (OSError, ValueError) as error:
            raise Unreachable(f"cannot read {self.base}{path}: {reason(error)}") from error

    def refresh(self, index):
        """Makes what is already written visible to searches."""
        self.post(f"{index}/_refresh")

    def count(self, index, **term):
        """How many documents there are, or how many have this term."""
        query = {"query": {"term": term}} if term else None
        return {"": self.post(f"{index}/_count", query)["count"]}

    def aggregate(self, index, aggregations):
        """The answers to aggregations over a whole index."""
        return self.post(f"{index}/_search", {"size": 0, "aggs": aggregations})["aggregations"]

    def documents(self, index):
        """All documents of a small index."""
        hits = self.post(f"{index}/_search", {"size": ALL_KEYS, "track_total_hits": True})["hits"]
        if len(hits["hits"]) != hits["total"]["value"]:
            raise Unreachable(f"{self.base}{index} holds more than {ALL_KEYS} documents")
        return [hit["_source"] for hit in hits["hits"]]


def reason(error):
    """Why a request failed, with what Elasticsearch says about it."""
    detail = error.read().decode(errors="replace")[:300] if isinstance(error, urllib.error.HTTPError) else ""
    return f"{error} {detail}".strip()


def sum_of(field):
    """Asks for the sum of a field."""
    return {"sum": {"field": field}}


def sum_by(key, **fields):
    """Asks for sums of fields per value of a keyword."""
    sums = {name: sum_of(field) for name, field in fields.items()}
    return {"terms": {"field": key, "size": ALL_KEYS}, "aggs": sums}


def whole(answer):
    """The integer in the answer to a sum, which is a double."""
    value = answer["value"]
    if value != int(value) or abs(value) >= 2**53:
        raise Unreachable(f"Elasticsearch answered a sum that is no exact integer: {value}")
    return int(value)


def per_key(answer, name):
    """The sums called `name` in the answer to sum_by, as a figure."""
    if answer["sum_other_doc_count"] or answer["doc_count_error_upper_bound"]:
        raise Unreachable("Elasticsearch left keys out of an aggregation")
    return {bucket["key"]: whole(bucket[name]) for bucket in answer["buckets"]}


def elasticsearch_figures(url, namespace):
    """All figures that Elasticsearch holds."""
    elasticsearch = Elasticsearch(url, namespace)
    for index in ("customers", "products", "orders", "payments"):
        elasticsearch.refresh(index)
    return {
        **counts(elasticsearch),
        **sales(elasticsearch),
        **money(elasticsearch),
        **stock(elasticsearch),
        **customer_totals(elasticsearch.documents("customers")),
    }


def counts(elasticsearch):
    """How many documents there are of each."""
    return {
        "customers": elasticsearch.count("customers"),
        "products": elasticsearch.count("products"),
        "discontinued products": elasticsearch.count("products", discontinued=True),
        "orders": elasticsearch.count("orders"),
        "orders shipped": elasticsearch.count("orders", status="shipped"),
        "orders confirmed, not shipped": elasticsearch.count("orders", status="confirmed"),
        "orders cancelled": elasticsearch.count("orders", status="cancelled"),
        "payments captured": elasticsearch.count("payments", status="captured"),
        "payments declined": elasticsearch.count("payments", status="declined"),
    }


def nested(path, **aggregations):
    """Asks for aggregations over the objects nested in documents."""
    return {"nested": {"path": path}, "aggs": aggregations}


def sales(elasticsearch):
    """Confirmed orders summed up: in total, by country, and their nested lines by category and product."""
    lines = nested(
        "lines",
        category=sum_by("lines.category.keyword", cents="lines.amount"),
        product=sum_by("lines.product_id", units="lines.quantity"),
    )
    confirmed = {"total": sum_of("total"), "country": sum_by("customer_country.keyword", cents="total"), "lines": lines}
    answer = elasticsearch.aggregate("orders", {
        "total": sum_of("total"),
        "lines": nested("lines"),
        "confirmed": {"filter": {"term": {"fulfilment": "confirmed"}}, "aggs": confirmed},
    })
    sold = answer["confirmed"]
    return {
        "order lines": {"": answer["lines"]["doc_count"]},
        "value of all orders": {"": whole(answer["total"])},
        "revenue": {"": whole(sold["total"])},
        "revenue by country": per_key(sold["country"], "cents"),
        "revenue by category": per_key(sold["lines"]["category"], "cents"),
        "units sold by product": per_key(sold["lines"]["product"], "units"),
    }


def money(elasticsearch):
    """What was paid: in total from the payments, by order from the orders."""
    payments = elasticsearch.aggregate("payments", {"captured": sum_of("captured"), "refunded": sum_of("refunded")})
    orders = elasticsearch.aggregate("orders", {"order": sum_by("order_id", captured="captured")})
    captured, refunded = whole(payments["captured"]), whole(payments["refunded"])
    return {
        "captured": {"": captured},
        "refunded": {"": refunded},
        "captured less refunded": {"": captured - refunded},
        "captured by order": per_key(orders["order"], "captured"),
    }


def stock(elasticsearch):
    """Units on hand, reserved and available by product."""
    sums = sum_by("product_id", on_hand="on_hand", reserved="reserved", available="available")
    answer = elasticsearch.aggregate("products", {"product": sums})["product"]
    return {
        "on hand by product": per_key(answer, "on_hand"),
        "reserved by product": per_key(answer, "reserved"),
        "available by product": per_key(answer, "available"),
    }


def customer_totals(customers):
    """Orders, money and mails by customer, from the customers' documents."""
    mails = {row["customer_id"]: row["notifications_sent"] for row in customers if row["notifications_sent"]}
    return {
        "orders by customer": {row["customer_id"]: row["order_count"] for row in customers},
        "cancelled orders by customer": {row["customer_id"]: row["orders_cancelled"] for row in customers},
        "order value by customer": {row["customer_id"]: dollars(row["order_value"]) for row in customers},
        "paid by customer": {row["customer_id"]: dollars(row["paid"]) for row in customers},
        "lifetime value by customer": {row["customer_id"]: dollars(row["lifetime_value"]) for row in customers},
        "mean order value by customer": {row["customer_id"]: dollars(row["order_means"]) for row in customers},
        "order interval by customer": {
            row["customer_id"]: row["order_interval"] for row in customers if row["order_interval"] is not None
        },
        "mails": {"": sum(mails.values())},
        "mails by customer": mails,
    }


def dollars(amounts):
    """The cents of a sum of money (one amount per currency) that are US dollars."""
    return sum(value["amount"] for value in amounts if value["currency"] == "USD")
