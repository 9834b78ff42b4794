package millrace.bench;

import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import org.apache.kafka.common.TopicPartition;

/** Where the group stands in a partition: in the database whose rows it guards. */
final class Offset {
    private final PreparedStatement advance;

    Offset(Connection connection, String group, TopicPartition place) throws SQLException {
        claim(connection, group, place);
        advance = connection.prepareStatement("UPDATE consumer_offset SET applied = ?, published = ?"
                + " WHERE grp = ? AND generation = 1 AND topic = ? AND partition = ?");
        advance.setString(3, group);
        advance.setString(4, place.topic());
        advance.setInt(5, place.partition());
    }

    private static void claim(Connection connection, String group, TopicPartition place) throws SQLException {
        var claim = "INSERT INTO consumer_offset (grp, generation, topic, partition, epoch, applied, published)"
                + " VALUES (?, 1, ?, ?, 1, 0, 0)";
        try (var statement = connection.prepareStatement(claim)) {
            statement.setString(1, group);
            statement.setString(2, place.topic());
            statement.setInt(3, place.partition());
            statement.executeUpdate();
        }
        connection.commit();
    }

    void advance(long to) throws SQLException {
        advance.setLong(1, to);
        advance.setLong(2, to);
        advance.executeUpdate();
    }
}
