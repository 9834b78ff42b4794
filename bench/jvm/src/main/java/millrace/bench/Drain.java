package millrace.bench;

import java.net.URI;
import java.sql.Connection;
import java.sql.DriverManager;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.StringDeserializer;

/**
 * Drains one topic into Postgres, a batch in a transaction, a thread for each partition:
 * {@code Drain commands|customers NAMESPACE PARTITIONS}. Prints how many records are committed, a line whenever that has
 * changed, until it is ended.
 */
public final class Drain {
    private static final int BATCH_RECORDS = 2000;
    private static final long TELL_EVERY_MS = 10;
    private static final Duration POLL = Duration.ofMillis(100);

    private final boolean commands;
    private final String namespace;
    private final Registry registry = new Registry(variable("SCHEMA_REGISTRY_URL"));
    private final AtomicLong committed = new AtomicLong();

    private Drain(String what, String namespace) {
        this.commands = what.equals("commands");
        this.namespace = namespace;
    }

    public static void main(String[] arguments) throws Exception {
        var drain = new Drain(arguments[0], arguments[1]);
        for (int partition = 0; partition < Integer.parseInt(arguments[2]); partition++) {
            drain.start(partition);
        }
        drain.tell();
    }

    private void start(int partition) {
        Thread.ofPlatform().name("partition-" + partition).start(() -> {
            try {
                drain(partition);
            } catch (Exception error) {
                error.printStackTrace();
                System.exit(1);
            }
        });
    }

    private void drain(int partition) throws Exception {
        var topic = namespace + (commands ? ".cmd.customers.v1" : ".evt.customers.v1");
        var place = new TopicPartition(topic, partition);
        try (var consumer = consumer(); var connection = connection()) {
            Batch batch = commands ? new Commands(connection, registry, namespace) : new Customers(connection, registry);
            var offset = new Offset(connection, namespace + ".jvm", place);
            consumer.assign(List.of(place));
            consumer.seekToBeginning(List.of(place));
            while (true) {
                List<ConsumerRecord<String, byte[]>> records = consumer.poll(POLL).records(place);
                if (!records.isEmpty()) {
                    batch.apply(records);
                    offset.advance(records.getLast().offset() + 1);
                    connection.commit();
                    committed.addAndGet(records.size());
                }
            }
        }
    }

    private static KafkaConsumer<String, byte[]> consumer() {
        Map<String, Object> settings = Map.of(
                "bootstrap.servers", variable("KAFKA_BROKERS"),
                "enable.auto.commit", false,
                "max.poll.records", BATCH_RECORDS);
        return new KafkaConsumer<>(settings, new StringDeserializer(), new ByteArrayDeserializer());
    }

    private Connection connection() throws Exception {
        var place = URI.create(variable(commands ? "WRITE_DATABASE_URL" : "READ_DATABASE_URL"));
        var user = place.getUserInfo().split(":", 2);
        var settings = new Properties();
        settings.setProperty("user", user[0]);
        settings.setProperty("password", user[1]);
        settings.setProperty("currentSchema", namespace);
        settings.setProperty("reWriteBatchedInserts", "true");
        var url = "jdbc:postgresql://" + place.getHost() + ":" + place.getPort() + place.getPath();
        var connection = DriverManager.getConnection(url, settings);
        connection.setAutoCommit(false);
        return connection;
    }

    private void tell() throws InterruptedException {
        for (long told = 0; ; Thread.sleep(TELL_EVERY_MS)) {
            long now = committed.get();
            if (now != told) {
                System.out.println(now);
                told = now;
            }
        }
    }

    private static String variable(String name) {
        var value = System.getenv(name);
        if (value == null) {
            throw new IllegalStateException(name + " is not set");
        }
        return value;
    }

    /** What becomes of a batch of records, in the transaction that is open. */
    interface Batch {
        void apply(List<ConsumerRecord<String, byte[]>> records) throws Exception;
    }

    /** The values of a column, for {@code = ANY(?)}. */
    static java.sql.Array texts(Connection connection, Iterable<String> values) throws java.sql.SQLException {
        var list = new ArrayList<String>();
        values.forEach(list::add);
        return connection.createArrayOf("text", list.toArray());
    }
}
