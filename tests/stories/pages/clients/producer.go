// Produces a record for each line of its input, with the settings of the line.
package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"log"
	"os"
	"strings"

	"github.com/hamba/avro/v2"
	"github.com/twmb/franz-go/pkg/kgo"
)

type row struct {
	ID            string          `json:"id"`
	Topic         string          `json:"topic"`
	Key           string          `json:"key"`
	Schema        json.RawMessage `json:"schema"`
	SchemaID      uint32          `json:"schema_id"`
	Value         map[string]any  `json:"value"`
	Compression   string          `json:"compression"`
	Transactional bool            `json:"transactional"`
	Murmur2       bool            `json:"murmur2"`
}

var codecs = map[string]kgo.CompressionCodec{
	"none":   kgo.NoCompression(),
	"gzip":   kgo.GzipCompression(),
	"snappy": kgo.SnappyCompression(),
	"lz4":    kgo.Lz4Compression(),
	"zstd":   kgo.ZstdCompression(),
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var row row
		must(json.Unmarshal(lines.Bytes(), &row))
		produce(row)
	}
	must(lines.Err())
}

func produce(row row) {
	schema, err := avro.ParseBytes(row.Schema)
	must(err)
	body, err := avro.Marshal(schema, row.Value)
	must(err)
	client, err := kgo.NewClient(options(row)...)
	must(err)
	defer client.Close()
	record := &kgo.Record{
		Topic: row.Topic,
		Key:   []byte(row.Key),
		Value: append(binary.BigEndian.AppendUint32([]byte{0}, row.SchemaID), body...),
		Headers: []kgo.RecordHeader{
			{Key: "ce_id", Value: []byte(row.ID)},
			{Key: "ce_source", Value: []byte("matrix")},
		},
	}
	if row.Transactional {
		must(client.BeginTransaction())
	}
	must(client.ProduceSync(context.Background(), record).FirstErr())
	if row.Transactional {
		must(client.EndTransaction(context.Background(), kgo.TryCommit))
	}
}

func options(row row) []kgo.Opt {
	options := []kgo.Opt{
		kgo.SeedBrokers(strings.Split(os.Getenv("KAFKA_BROKERS"), ",")...),
		kgo.ProducerBatchCompression(codecs[row.Compression]),
	}
	if !row.Murmur2 {
		options = append(options, kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))
	}
	if row.Transactional {
		options = append(options, kgo.TransactionalID(row.ID))
	}
	return options
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
