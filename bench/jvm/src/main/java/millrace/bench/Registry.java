package millrace.bench;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.ByteBuffer;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.io.EncoderFactory;

/** Framed Avro by the schemas of the registry, each asked for once. */
final class Registry {
    /** Magic byte and schema id. */
    static final int FRAME = 5;

    private final String url;
    private final HttpClient http = HttpClient.newHttpClient();
    private final ObjectMapper json = new ObjectMapper();
    private final Map<Integer, GenericDatumReader<GenericRecord>> readers = new ConcurrentHashMap<>();
    private final Map<String, Writer> writers = new ConcurrentHashMap<>();

    private record Writer(int id, Schema schema, GenericDatumWriter<GenericRecord> writer) {}

    Registry(String url) {
        this.url = url;
    }

    GenericRecord decode(byte[] framed) throws IOException {
        var reader = readers.computeIfAbsent(ByteBuffer.wrap(framed).getInt(1), this::reader);
        return reader.read(null, DecoderFactory.get().binaryDecoder(framed, FRAME, framed.length - FRAME, null));
    }

    /** An empty record of a type that is written. */
    GenericRecord record(String fullName) {
        return new GenericData.Record(writer(fullName).schema());
    }

    byte[] encode(GenericRecord record) throws IOException {
        var writer = writer(record.getSchema().getFullName());
        var bytes = new ByteArrayOutputStream(256);
        bytes.writeBytes(ByteBuffer.allocate(FRAME).put((byte) 0).putInt(writer.id()).array());
        var encoder = EncoderFactory.get().directBinaryEncoder(bytes, null);
        writer.writer().write(record, encoder);
        encoder.flush();
        return bytes.toByteArray();
    }

    private GenericDatumReader<GenericRecord> reader(int id) {
        return new GenericDatumReader<>(schema(ask("/schemas/ids/" + id)));
    }

    private Writer writer(String fullName) {
        return writers.computeIfAbsent(fullName, name -> {
            var latest = ask("/subjects/" + name + "/versions/latest");
            var schema = schema(latest);
            return new Writer(latest.get("id").asInt(), schema, new GenericDatumWriter<>(schema));
        });
    }

    private static Schema schema(JsonNode answer) {
        var schema = new Schema.Parser().parse(answer.get("schema").asText());
        schema.getFields().forEach(field -> readAsString(field.schema()));
        return schema;
    }

    private static void readAsString(Schema schema) {
        switch (schema.getType()) {
            case STRING -> GenericData.setStringType(schema, GenericData.StringType.String);
            case UNION -> schema.getTypes().forEach(Registry::readAsString);
            default -> { }
        }
    }

    private JsonNode ask(String path) {
        try {
            var answer = http.send(HttpRequest.newBuilder(URI.create(url + path)).build(), BodyHandlers.ofByteArray());
            if (answer.statusCode() != 200) {
                throw new IllegalStateException(path + ": " + answer.statusCode());
            }
            return json.readTree(answer.body());
        } catch (IOException | InterruptedException error) {
            throw new IllegalStateException(path, error);
        }
    }
}
