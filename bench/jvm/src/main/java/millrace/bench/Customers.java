package millrace.bench;

import java.nio.charset.StandardCharsets;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.sql.Timestamp;
import java.time.Instant;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.ConsumerRecord;

/** Folds customers' events into the table that Millrace's view of customers has. The version of an event is its ticket. */
final class Customers implements Drain.Batch {
    private final Connection connection;
    private final Registry registry;
    private final PreparedStatement load;
    private final PreparedStatement store;
    private final PreparedStatement progress;
    private final PreparedStatement move;

    /** A row while a batch is folded. */
    private static final class Row {
        Customer.Details details;
        long version;
        Instant updatedAt = Instant.EPOCH;
        long progress;
    }

    Customers(Connection connection, Registry registry) throws SQLException {
        this.connection = connection;
        this.registry = registry;
        load = connection.prepareStatement("SELECT customer_id, version, updated_at FROM customers_g1"
                + " WHERE customer_id = ANY(?) ORDER BY customer_id COLLATE \"C\" FOR UPDATE");
        store = connection.prepareStatement("INSERT INTO customers_g1 (customer_id, name, contact_name, email, phone, city,"
                + " country, version, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (customer_id) DO UPDATE"
                + " SET name = excluded.name, contact_name = excluded.contact_name, email = excluded.email,"
                + " phone = excluded.phone, city = excluded.city, country = excluded.country,"
                + " version = excluded.version, updated_at = excluded.updated_at");
        progress = connection.prepareStatement("SELECT stream, version FROM progress"
                + " WHERE grp = 'jvm' AND generation = 1 AND context = 'customers' AND stream = ANY(?)");
        move = connection.prepareStatement("INSERT INTO progress (grp, generation, context, stream, version)"
                + " VALUES (?, ?, ?, ?, ?)"
                + " ON CONFLICT (grp, generation, context, stream) DO UPDATE SET version = excluded.version");
    }

    @Override
    public void apply(List<ConsumerRecord<String, byte[]>> records) throws Exception {
        var rows = load(records);
        for (var record : records) {
            fold(rows.computeIfAbsent(record.key(), key -> new Row()), record);
        }
        for (var entry : rows.entrySet()) {
            if (entry.getValue().details != null) {
                store(entry.getKey(), entry.getValue());
            }
        }
        move.executeBatch();
        store.executeBatch();
    }

    private Map<String, Row> load(List<ConsumerRecord<String, byte[]>> records) throws SQLException {
        var ids = new HashSet<String>();
        records.forEach(record -> ids.add(record.key()));
        var rows = new LinkedHashMap<String, Row>();
        progress.setArray(1, Drain.texts(connection, ids));
        try (var found = progress.executeQuery()) {
            while (found.next()) {
                rows.computeIfAbsent(found.getString(1), key -> new Row()).progress = found.getLong(2);
            }
        }
        load.setArray(1, Drain.texts(connection, ids));
        try (var found = load.executeQuery()) {
            while (found.next()) {
                var row = rows.computeIfAbsent(found.getString(1), key -> new Row());
                row.version = found.getLong(2);
                row.updatedAt = found.getTimestamp(3).toInstant();
            }
        }
        return rows;
    }

    private void fold(Row row, ConsumerRecord<String, byte[]> record) throws Exception {
        long version = Long.parseLong(header(record, "ce_sequence"));
        if (version <= row.progress) {
            return;
        }
        if (version > row.progress + 1) {
            throw new IllegalStateException(record.key() + " has a gap before " + version);
        }
        var at = Instant.parse(header(record, "ce_time"));
        row.details = Customer.Details.of(registry.decode(record.value()));
        row.progress = version;
        row.version++;
        row.updatedAt = at.isAfter(row.updatedAt) ? at : row.updatedAt;
    }

    private void store(String id, Row row) throws SQLException {
        store.setString(1, id);
        store.setString(2, row.details.name());
        store.setString(3, row.details.contactName());
        store.setString(4, row.details.email());
        store.setString(5, row.details.phone());
        store.setString(6, row.details.city());
        store.setString(7, row.details.country());
        store.setLong(8, row.version);
        store.setTimestamp(9, Timestamp.from(row.updatedAt));
        store.addBatch();
        move.setString(1, "jvm");
        move.setInt(2, 1);
        move.setString(3, "customers");
        move.setString(4, id);
        move.setLong(5, row.progress);
        move.addBatch();
    }

    static String header(ConsumerRecord<String, byte[]> record, String name) {
        return new String(record.headers().lastHeader(name).value(), StandardCharsets.UTF_8);
    }
}
