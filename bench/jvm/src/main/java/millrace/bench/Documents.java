package millrace.bench;

import co.elastic.clients.elasticsearch.ElasticsearchClient;
import co.elastic.clients.elasticsearch.core.bulk.BulkOperation;
import co.elastic.clients.elasticsearch.core.bulk.BulkResponseItem;
import co.elastic.clients.json.jackson.JacksonJsonpMapper;
import co.elastic.clients.transport.rest_client.RestClientTransport;
import com.fasterxml.jackson.annotation.JsonProperty;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.time.Instant;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Objects;
import org.apache.http.HttpHost;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.elasticsearch.client.RestClient;

/**
 * Upserts customers' events into an index that is there, without scripts: one request for each batch. Kafka keeps the
 * offsets, which move when Elasticsearch has acknowledged the batch.
 */
final class Documents implements Drain.Target {
    /** One for all threads, as the client's manual advises. */
    private static final ElasticsearchClient ELASTIC = client();

    private final KafkaConsumer<String, byte[]> consumer;
    private final Registry registry;
    private final String index;

    /** What Elasticsearch knows of a customer. */
    private record Document(@JsonProperty("customer_id") String customerId, String name,
            @JsonProperty("contact_name") String contactName, String email, String phone, String city, String country,
            long version, @JsonProperty("updated_at") String updatedAt) {}

    Documents(KafkaConsumer<String, byte[]> consumer, Registry registry, String namespace) {
        this.consumer = consumer;
        this.registry = registry;
        index = namespace + "-customers-g0-jvm";
    }

    /** Every event says all of these fields, so that a customer's last one is what the batch leads to. */
    @Override
    public void take(List<ConsumerRecord<String, byte[]>> records) throws IOException {
        var documents = new LinkedHashMap<String, Document>();
        for (var record : records) {
            documents.put(record.key(), document(record));
        }
        send(documents.values().stream().map(Documents::upsert).toList());
        consumer.commitSync();
    }

    private Document document(ConsumerRecord<String, byte[]> record) throws IOException {
        var details = Customer.Details.of(registry.decode(record.value()));
        long version = Long.parseLong(Customers.header(record, "ce_sequence"));
        var at = Instant.parse(Customers.header(record, "ce_time"));
        return new Document(record.key(), details.name(), details.contactName(), details.email(), details.phone(),
                details.city(), details.country(), version, at.toString());
    }

    private static BulkOperation upsert(Document document) {
        return BulkOperation.of(operation -> operation.update(update -> update
                .id(document.customerId())
                .action(action -> action.doc(document).docAsUpsert(true))));
    }

    private void send(List<BulkOperation> operations) throws IOException {
        var answer = ELASTIC.bulk(bulk -> bulk.index(index).operations(operations));
        if (answer.errors()) {
            var first = answer.items().stream().map(BulkResponseItem::error).filter(Objects::nonNull).findFirst();
            throw new IllegalStateException("_bulk has errors: " + first);
        }
    }

    private static ElasticsearchClient client() {
        var rest = RestClient.builder(HttpHost.create(Drain.variable("ELASTICSEARCH_URL"))).build();
        // The mapper that comes with the client leaves nulls out: a field that became null would keep its old value.
        return new ElasticsearchClient(new RestClientTransport(rest, new JacksonJsonpMapper(new ObjectMapper())));
    }

    /** The consumer is closed by who opened it, the client ends with the program. */
    @Override
    public void close() {}
}
