package millrace.bench;

import java.net.URI;
import java.sql.Connection;
import java.sql.DriverManager;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
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
 * Drains topics batch by batch, a thread for each partition, into Postgres, and for {@code search} into Elasticsearch:
 * {@code Drain commands|customers|search|commands,customers NAMESPACE PARTITIONS [defaults]}. With {@code defaults} its
 * clients have no settings for speed. Prints how many records are committed, a line whenever that has changed, until it is
 * ended.
 */
public final class Drain {
    private static final int BATCH_RECORDS = 2000;
    private static final long TELL_EVERY_MS = 10;
    private static final Duration POLL = Duration.ofMillis(100);

    private static final AtomicLong COMMITTED = new AtomicLong();

    private final boolean commands;
    private final boolean search;
    private final String namespace;
    private final boolean tuned;
    private final Registry registry = new Registry(variable("SCHEMA_REGISTRY_URL"));

    private Drain(String what, String namespace, boolean tuned) {
        this.commands = what.equals("commands");
        this.search = what.equals("search");
        this.namespace = namespace;
        this.tuned = tuned;
    }

    public static void main(String[] arguments) throws Exception {
        boolean tuned = arguments.length < 4 || !arguments[3].equals("defaults");
        for (var what : arguments[0].split(",")) {
            var drain = new Drain(what, arguments[1], tuned);
            for (int partition = 0; partition < Integer.parseInt(arguments[2]); partition++) {
                drain.start(partition);
            }
        }
        tell();
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
        try (var consumer = consumer(); var target = target(consumer, place)) {
            consumer.assign(List.of(place));
            consumer.seekToBeginning(List.of(place));
            while (true) {
                List<ConsumerRecord<String, byte[]>> records = consumer.poll(POLL).records(place);
                if (!records.isEmpty()) {
                    target.take(records);
                    COMMITTED.addAndGet(records.size());
                }
            }
        }
    }

    private Target target(KafkaConsumer<String, byte[]> consumer, TopicPartition place) throws Exception {
        if (search) {
            return new Documents(consumer, registry, namespace);
        }
        var connection = connection();
        Batch batch = commands ? new Commands(connection, registry, namespace) : new Customers(connection, registry);
        return new Transactions(connection, batch, new Offset(connection, namespace + ".jvm", place));
    }

    private KafkaConsumer<String, byte[]> consumer() {
        var settings = new HashMap<String, Object>(Map.of(
                "bootstrap.servers", variable("KAFKA_BROKERS"),
                "enable.auto.commit", false));
        if (tuned) {
            settings.put("max.poll.records", BATCH_RECORDS);
        }
        if (search) {
            // The group of Millrace's view: it is removed with the instance.
            settings.put("group.id", namespace + ".customers");
        }
        return new KafkaConsumer<>(settings, new StringDeserializer(), new ByteArrayDeserializer());
    }

    private Connection connection() throws Exception {
        var place = URI.create(variable(commands ? "WRITE_DATABASE_URL" : "READ_DATABASE_URL"));
        var user = place.getUserInfo().split(":", 2);
        var settings = new Properties();
        settings.setProperty("user", user[0]);
        settings.setProperty("password", user[1]);
        settings.setProperty("currentSchema", namespace);
        if (tuned) {
            settings.setProperty("reWriteBatchedInserts", "true");
        }
        var url = "jdbc:postgresql://" + place.getHost() + ":" + place.getPort() + place.getPath();
        var connection = DriverManager.getConnection(url, settings);
        connection.setAutoCommit(false);
        return connection;
    }

    private static void tell() throws InterruptedException {
        for (long told = 0; ; Thread.sleep(TELL_EVERY_MS)) {
            long now = COMMITTED.get();
            if (now != told) {
                System.out.println(now);
                told = now;
            }
        }
    }

    static String variable(String name) {
        var value = System.getenv(name);
        if (value == null) {
            throw new IllegalStateException(name + " is not set");
        }
        return value;
    }

    /** Where batches go: what was taken is there for good, and so is how far the group has come. */
    interface Target extends AutoCloseable {
        void take(List<ConsumerRecord<String, byte[]>> records) throws Exception;
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
