package millrace.bench;

import com.fasterxml.jackson.databind.ObjectMapper;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.sql.Timestamp;
import java.sql.Types;
import java.time.Instant;
import java.util.Arrays;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.UUID;
import org.apache.kafka.clients.consumer.ConsumerRecord;

/** Decides customers' commands: ledger, streams and outbox of a batch with a few statements, their inserts batched. */
final class Commands implements Drain.Batch {
    private static final String REJECTED = "millrace.CommandRejected";

    private final ObjectMapper json = new ObjectMapper();
    private final Connection connection;
    private final Registry registry;
    private final String namespace;
    private final PreparedStatement known;
    private final PreparedStatement load;
    private final PreparedStatement store;
    private final PreparedStatement send;
    private final PreparedStatement receipt;

    /** A stream while a batch is decided. */
    private static final class Stream {
        Customer state;
        long version;
        boolean changed;
    }

    Commands(Connection connection, Registry registry, String namespace) throws SQLException {
        this.connection = connection;
        this.registry = registry;
        this.namespace = namespace;
        known = connection.prepareStatement("SELECT id FROM command WHERE id = ANY(?) AND status <> 'dead'");
        load = connection.prepareStatement("SELECT id, version, state::text FROM stream"
                + " WHERE context = 'customers' AND id = ANY(?) ORDER BY id COLLATE \"C\" FOR UPDATE");
        store = connection.prepareStatement("INSERT INTO stream (context, id, version, state_version, state)"
                + " VALUES (?, ?, ?, ?, ?::json) ON CONFLICT (context, id) DO UPDATE SET version = excluded.version,"
                + " state_version = excluded.state_version, state = excluded.state");
        send = connection.prepareStatement("INSERT INTO outbox (id, aggregatetype, aggregateid, type, payload, topic,"
                + " version, correlation_id, causation_id, command_id, occurred_at)"
                + " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
        receipt = connection.prepareStatement("INSERT INTO command (id, source, fingerprint, type, context, stream, topic,"
                + " partition, \"offset\", status, code, message, versions, produced_at, received_at)"
                + " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?::json, ?, ?)");
    }

    @Override
    public void apply(List<ConsumerRecord<String, byte[]>> records) throws Exception {
        var receivedAt = Timestamp.from(Instant.now());
        var decided = decided(records);
        var streams = load(records);
        for (var record : records) {
            if (decided.add(header(record, "ce_id"))) {
                decide(record, streams.computeIfAbsent(record.key(), key -> new Stream()), receivedAt);
            }
        }
        store(streams);
        send.executeBatch();
        receipt.executeBatch();
    }

    private Set<String> decided(List<ConsumerRecord<String, byte[]>> records) throws SQLException {
        var found = new HashSet<String>();
        known.setArray(1, Drain.texts(connection, records.stream().map(record -> header(record, "ce_id")).toList()));
        try (var rows = known.executeQuery()) {
            while (rows.next()) {
                found.add(rows.getString(1));
            }
        }
        return found;
    }

    private Map<String, Stream> load(List<ConsumerRecord<String, byte[]>> records) throws Exception {
        var streams = new LinkedHashMap<String, Stream>();
        var ids = new HashSet<String>();
        records.forEach(record -> ids.add(record.key()));
        load.setArray(1, Drain.texts(connection, ids));
        try (var rows = load.executeQuery()) {
            while (rows.next()) {
                var stream = new Stream();
                stream.version = rows.getLong(2);
                stream.state = json.readValue(rows.getString(3), Customer.class);
                streams.put(rows.getString(1), stream);
            }
        }
        return streams;
    }

    private void decide(ConsumerRecord<String, byte[]> record, Stream stream, Timestamp receivedAt) throws Exception {
        var type = header(record, "ce_type");
        var details = Customer.Details.of(registry.decode(record.value()));
        try {
            var event = Customer.decide(stream.state, type, record.key(), details);
            if (event != null) {
                happen(record, stream, event, details);
            }
            receipt(record, type, event == null ? null : stream.version, null, receivedAt);
        } catch (Customer.Rejected rejected) {
            refuse(record, type, rejected);
            receipt(record, type, null, rejected, receivedAt);
        }
    }

    private void happen(ConsumerRecord<String, byte[]> record, Stream stream, String event, Customer.Details details)
            throws Exception {
        stream.state = stream.state == null ? Customer.with(details) : stream.state.changed(details);
        stream.version++;
        stream.changed = true;
        var body = registry.record(event);
        body.put("customer_id", record.key());
        details.fill(body);
        send(record, event, registry.encode(body), "evt", stream.version);
    }

    private void refuse(ConsumerRecord<String, byte[]> record, String type, Customer.Rejected rejected) throws Exception {
        var body = registry.record(REJECTED);
        body.put("stream", record.key());
        body.put("command_id", header(record, "ce_id"));
        body.put("command_source", header(record, "ce_source"));
        body.put("command_type", type);
        body.put("code", rejected.code);
        body.put("message", rejected.getMessage());
        send(record, REJECTED, registry.encode(body), "rej", null);
    }

    private void store(Map<String, Stream> streams) throws Exception {
        for (var entry : streams.entrySet()) {
            if (entry.getValue().changed) {
                store.setString(1, "customers");
                store.setString(2, entry.getKey());
                store.setLong(3, entry.getValue().version);
                store.setInt(4, Customer.STATE_VERSION);
                store.setString(5, json.writeValueAsString(entry.getValue().state));
                store.addBatch();
            }
        }
        store.executeBatch();
    }

    private void send(ConsumerRecord<String, byte[]> record, String type, byte[] payload, String kind, Long version)
            throws SQLException {
        var id = header(record, "ce_id");
        send.setObject(1, UUID.randomUUID());
        send.setString(2, "customers");
        send.setString(3, record.key());
        send.setString(4, type);
        send.setBytes(5, payload);
        send.setString(6, namespace + "." + kind + ".customers.v1");
        send.setObject(7, version, Types.BIGINT);
        send.setString(8, id);
        send.setString(9, id);
        send.setString(10, id);
        send.setTimestamp(11, Timestamp.from(Instant.parse(header(record, "ce_time"))));
        send.addBatch();
    }

    private void receipt(ConsumerRecord<String, byte[]> record, String type, Long version, Customer.Rejected rejected,
            Timestamp receivedAt) throws Exception {
        receipt.setString(1, header(record, "ce_id"));
        receipt.setString(2, header(record, "ce_source"));
        receipt.setBytes(3, fingerprint(type, record.value()));
        receipt.setString(4, type);
        receipt.setString(5, "customers");
        receipt.setString(6, record.key());
        receipt.setString(7, record.topic());
        receipt.setInt(8, record.partition());
        receipt.setLong(9, record.offset());
        receipt.setString(10, rejected == null ? "completed" : "rejected");
        receipt.setString(11, rejected == null ? null : rejected.code);
        receipt.setString(12, rejected == null ? null : rejected.getMessage());
        receipt.setString(13, version == null ? null : json.writeValueAsString(Map.of(record.key(), version)));
        receipt.setTimestamp(14, new Timestamp(record.timestamp()));
        receipt.setTimestamp(15, receivedAt);
        receipt.addBatch();
    }

    /** Tells two bodies under one id apart. */
    private static byte[] fingerprint(String type, byte[] framed) throws Exception {
        var hash = MessageDigest.getInstance("SHA-256");
        hash.update(type.getBytes(StandardCharsets.UTF_8));
        hash.update((byte) 0);
        hash.update(framed, Registry.FRAME, framed.length - Registry.FRAME);
        return Arrays.copyOf(hash.digest(), 16);
    }

    private static String header(ConsumerRecord<String, byte[]> record, String name) {
        return new String(record.headers().lastHeader(name).value(), StandardCharsets.UTF_8);
    }
}
