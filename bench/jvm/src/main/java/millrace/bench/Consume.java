package millrace.bench;

import io.apicurio.registry.serde.avro.AvroKafkaDeserializer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import org.apache.avro.generic.GenericRecord;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;

/**
 * Decodes customers' events with Apicurio's deserializer and does nothing else, a consumer in a thread of its own for each
 * partition: {@code Consume consume NAMESPACE PARTITIONS}. It has no group and remembers no offset. Prints how many records
 * and bytes it has read and the checksum of what it found in them, a line whenever that has changed, until it is ended.
 */
public final class Consume {
    private static final int BATCH_RECORDS = 2000;
    private static final long TELL_EVERY_MS = 10;
    private static final Duration POLL = Duration.ofMillis(100);
    private static final long FNV_OFFSET = 0xcbf29ce484222325L;
    private static final long FNV_PRIME = 0x100000001b3L;

    private long records;
    private long bytes;
    private long checksum;

    public static void main(String[] arguments) throws Exception {
        var consume = new Consume();
        for (int partition = 0; partition < Integer.parseInt(arguments[2]); partition++) {
            consume.start(new TopicPartition(arguments[1] + ".evt.customers.v1", partition));
        }
        consume.tell();
    }

    private void start(TopicPartition place) {
        Thread.ofPlatform().name("partition-" + place.partition()).start(() -> {
            try {
                consume(place);
            } catch (Exception error) {
                error.printStackTrace();
                System.exit(1);
            }
        });
    }

    private void consume(TopicPartition place) {
        try (var consumer = consumer()) {
            consumer.assign(List.of(place));
            consumer.seekToBeginning(List.of(place));
            while (true) {
                read(consumer.poll(POLL).records(place));
            }
        }
    }

    private void read(List<ConsumerRecord<String, GenericRecord>> batch) {
        long bytes = 0;
        long checksum = 0;
        for (var record : batch) {
            bytes += record.serializedValueSize();
            checksum += hash(record.value());
        }
        add(batch.size(), bytes, checksum);
    }

    /** Of the customer and their phone number: FNV-1a. */
    private static long hash(GenericRecord event) {
        var phone = event.get("phone");
        long hash = hash(FNV_OFFSET, event.get("customer_id") + "|");
        return phone == null ? hash : hash(hash, phone.toString());
    }

    private static long hash(long hash, String text) {
        for (byte letter : text.getBytes(StandardCharsets.UTF_8)) {
            hash = (hash ^ (letter & 0xff)) * FNV_PRIME;
        }
        return hash;
    }

    private synchronized void add(long records, long bytes, long checksum) {
        this.records += records;
        this.bytes += bytes;
        this.checksum += checksum;
    }

    private synchronized String told() {
        return records + " " + bytes + " " + Long.toUnsignedString(checksum);
    }

    private void tell() throws InterruptedException {
        for (var last = told(); ; Thread.sleep(TELL_EVERY_MS)) {
            var now = told();
            if (!now.equals(last)) {
                System.out.println(now);
                last = now;
            }
        }
    }

    /** The records have Confluent's frame; its id is that of the registry's content. */
    private static KafkaConsumer<String, GenericRecord> consumer() {
        var registry = Map.of(
                "apicurio.registry.url", Drain.variable("SCHEMA_REGISTRY_URL").replace("/ccompat/v7", "/registry/v3"),
                "apicurio.registry.id-handler", "io.apicurio.registry.serde.Default4ByteIdHandler",
                "apicurio.registry.use-id", "contentId");
        var deserializer = new AvroKafkaDeserializer<GenericRecord>();
        deserializer.configure(registry, false);
        Map<String, Object> settings = Map.of(
                "bootstrap.servers", Drain.variable("KAFKA_BROKERS"),
                "enable.auto.commit", false,
                "max.poll.records", BATCH_RECORDS);
        return new KafkaConsumer<>(settings, new StringDeserializer(), deserializer);
    }
}
