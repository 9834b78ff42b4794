"""The figures as the payment provider and the mail server report them, from the ledger that they keep.

The ledger of `millrace-simulator` has a JSON object on each line: authorisations, charges, refunds and mails. It was
written before the caller was answered, so it is the word of the external systems, not ours.
"""

import json

from figures_csv import total_by


class Unreachable(Exception):
    """The ledger is not there, or is none."""


def ledger(path):
    """The entries of a ledger."""
    try:
        with open(path, encoding="utf-8") as file:
            return [json.loads(line) for line in file]
    except (OSError, ValueError) as error:
        raise Unreachable(f"cannot read the ledger {path}: {error}") from error


def captures(entries):
    """The charges that were captured."""
    return [entry for entry in entries if entry["kind"] == "charge" and entry["status"] == "captured"]


def refusals(entries):
    """The authorisations that were declined, and the charges of a ledger that was begun before there were any."""
    kinds = ("authorisation", "charge")
    return [entry for entry in entries if entry["kind"] in kinds and entry["status"] == "declined"]


def declined(entries):
    """The orders whose payment was declined."""
    return {refusal["order"] for refusal in refusals(entries)}


def mails(entries):
    """The customers who got mails, one for each mail: a new instance sends its old mails again, by their old names."""
    sent = {entry["message_id"]: entry["to"] for entry in entries if entry["kind"] == "mail"}
    return [address.partition("@")[0].upper() for addresses in sent.values() for address in addresses]


def provider_figures(entries):
    """All figures that the ledger holds."""
    captured, refused = captures(entries), refusals(entries)
    taken = sum(charge["amount"] for charge in captured)
    returned = sum(entry["amount"] for entry in entries if entry["kind"] == "refund")
    customers = mails(entries)
    amounts = [*(charge["amount"] for charge in captured), *(0 for _ in refused)]
    return {
        "payments captured": {"": len(captured)},
        "payments declined": {"": len(refused)},
        "captured": {"": taken},
        "refunded": {"": returned},
        "captured less refunded": {"": taken - returned},
        "captured by order": total_by([charge["order"] for charge in [*captured, *refused]], amounts),
        "mails": {"": len(customers)},
        "mails by customer": total_by(customers, [1] * len(customers)),
    }
