package millrace.bench;

import java.sql.Connection;
import java.sql.SQLException;
import java.util.List;
import org.apache.kafka.clients.consumer.ConsumerRecord;

/** Postgres: a batch in a transaction, with the group's offset. */
final class Transactions implements Drain.Target {
    private final Connection connection;
    private final Drain.Batch batch;
    private final Offset offset;

    Transactions(Connection connection, Drain.Batch batch, Offset offset) {
        this.connection = connection;
        this.batch = batch;
        this.offset = offset;
    }

    @Override
    public void take(List<ConsumerRecord<String, byte[]>> records) throws Exception {
        batch.apply(records);
        offset.advance(records.getLast().offset() + 1);
        connection.commit();
    }

    @Override
    public void close() throws SQLException {
        connection.close();
    }
}
