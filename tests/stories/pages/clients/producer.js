// Produces a record for each line of its input, with the settings of the line.
const avro = require('avsc')
const { readFileSync } = require('fs')
const { CompressionTypes, Kafka, Partitioners } = require('kafkajs')

const CODECS = { none: CompressionTypes.None, gzip: CompressionTypes.GZIP }

async function produce(row) {
  const kafka = new Kafka({ brokers: process.env.KAFKA_BROKERS.split(',') })
  const producer = kafka.producer({
    createPartitioner: row.murmur2 ? Partitioners.DefaultPartitioner : Partitioners.LegacyPartitioner,
    idempotent: row.transactional,
    maxInFlightRequests: row.transactional ? 1 : undefined,
    transactionalId: row.transactional ? row.id : undefined
  })
  const frame = Buffer.alloc(5)
  frame.writeInt32BE(row.schema_id, 1)
  const value = Buffer.concat([frame, avro.Type.forSchema(row.schema).toBuffer(row.value)])
  const message = { key: row.key, value, headers: { ce_id: row.id, ce_source: 'matrix' } }
  const batch = { topic: row.topic, messages: [message], compression: CODECS[row.compression] }
  await producer.connect()
  if (row.transactional) {
    const transaction = await producer.transaction()
    await transaction.send(batch)
    await transaction.commit()
  } else {
    await producer.send(batch)
  }
  await producer.disconnect()
}

async function main() {
  for (const line of readFileSync(0, 'utf8').trim().split('\n')) {
    await produce(JSON.parse(line))
  }
}

main().catch((error) => {
  console.error(error)
  process.exit(1)
})
