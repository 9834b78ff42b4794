import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.DataOutputStream;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.avro.generic.GenericRecordBuilder;
import org.apache.avro.io.EncoderFactory;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;
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
        try (var producer = new KafkaProducer<>(settings(row), new StringSerializer(), new ByteArraySerializer())) {
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
        settings.put("bootstrap.servers", List.of(System.getenv("KAFKA_BROKERS").split(",")));
        settings.put("compression.type", row.get("compression").asText());
        if (!row.get("murmur2").asBoolean()) {
            settings.put("partitioner.class", "org.apache.kafka.clients.producer.RoundRobinPartitioner");
        }
        if (row.get("transactional").asBoolean()) {
            settings.put("transactional.id", row.get("id").asText());
        }
        return settings;
    }

    static byte[] value(JsonNode row) throws Exception {
        var schema = new Schema.Parser().parse(row.get("schema").toString());
        var builder = new GenericRecordBuilder(schema);
        row.get("value").fields().forEachRemaining(field -> builder.set(field.getKey(), field.getValue().asText()));
        var bytes = new ByteArrayOutputStream();
        var framed = new DataOutputStream(bytes);
        framed.writeByte(0);
        framed.writeInt(row.get("schema_id").asInt());
        var encoder = EncoderFactory.get().binaryEncoder(framed, null);
        new GenericDatumWriter<>(schema).write(builder.build(), encoder);
        encoder.flush();
        return bytes.toByteArray();
    }
}
