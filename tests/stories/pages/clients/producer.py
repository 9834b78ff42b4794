"""Produces a record for each line of its input, with the settings of the line."""

import io
import json
import os
import struct
import sys

import fastavro
from confluent_kafka import Producer


def delivered(error, _):
    if error:
        raise SystemExit(f"not delivered: {error}")


def producer(row):
    settings = {"bootstrap.servers": os.environ["KAFKA_BROKERS"], "compression.type": row["compression"]}
    if row["murmur2"]:
        settings["partitioner"] = "murmur2_random"
    if row["transactional"]:
        settings["transactional.id"] = row["id"]
    return Producer(settings)


for row in map(json.loads, sys.stdin):
    value = io.BytesIO()
    value.write(struct.pack(">bI", 0, row["schema_id"]))
    fastavro.schemaless_writer(value, fastavro.parse_schema(row["schema"]), row["value"])
    client = producer(row)
    if row["transactional"]:
        client.init_transactions()
        client.begin_transaction()
    headers = {"ce_id": row["id"], "ce_source": "matrix"}
    client.produce(row["topic"], key=row["key"], value=value.getvalue(), headers=headers, on_delivery=delivered)
    if row["transactional"]:
        client.commit_transaction()
    if client.flush(30):
        raise SystemExit("Kafka has not taken it in 30 seconds")
