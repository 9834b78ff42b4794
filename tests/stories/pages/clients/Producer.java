import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.apicurio.registry.serde.avro.AvroKafkaSerializer;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.generic.GenericRecordBuilder;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringSerializer;

/** Produces a record for each line of its input, with the settings of the line. */
public class Producer {
    public static void main(String[] arguments) throws Exception {
        var input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (var line = input.readLine(); line != null; line = input.readLine()) {
            produce(new ObjectMapper().readTree(line));
        }
    }

    static void produce(JsonNode row) throws Exception {
        var record = new ProducerRecord<>(row.get("topic").asText(), row.get("key").asText(), value(row));
        Map.of("ce_id", row.get("id").asText(), "ce_source", "matrix")
            .forEach((name, value) -> record.headers().add(name, value.getBytes(StandardCharsets.UTF_8)));
        var transactional = row.get("transactional").asBoolean();
        try (var producer = new KafkaProducer<String, GenericRecord>(settings(row))) {
            if (transactional) {
                producer.initTransactions();
                producer.beginTransaction();
            }
            var sent = producer.send(record);
            if (transactional) {
                producer.commitTransaction();
            }
            sent.get();
        }
    }

    static Map<String, Object> settings(JsonNode row) {
        var settings = new HashMap<String, Object>();
        settings.put("bootstrap.servers", System.getenv("KAFKA_BROKERS"));
        settings.put("key.serializer", StringSerializer.class);
        settings.put("value.serializer", AvroKafkaSerializer.class);
        settings.put("apicurio.registry.url", System.getenv("SCHEMA_REGISTRY_URL").replace("/ccompat/v7", "/registry/v3"));
        settings.put("apicurio.registry.artifact.artifact-id", row.get("subject").asText());
        settings.put("apicurio.registry.canonicalize", true);
        settings.put("apicurio.registry.auto-register", false);
        settings.put("compression.type", row.get("compression").asText());
        if (!row.get("murmur2").asBoolean()) {
            settings.put("partitioner.class", "org.apache.kafka.clients.producer.RoundRobinPartitioner");
        }
        if (row.get("transactional").asBoolean()) {
            settings.put("transactional.id", row.get("id").asText());
        }
        return settings;
    }

    static GenericRecord value(JsonNode row) {
        var builder = new GenericRecordBuilder(new Schema.Parser().parse(row.get("schema").toString()));
        row.get("value").fields().forEachRemaining(field -> builder.set(field.getKey(), field.getValue().asText()));
        return builder.build();
    }
}
