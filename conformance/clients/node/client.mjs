// kafkajs's view of a broker: the cases that conformance/README.md lists, with the same commands
// and the same lines of output as every other client here.

import kafkajs from 'kafkajs'
import SnappyCodec from 'kafkajs-snappy'
import lz4 from 'lz4js'
import { ZstdCodec } from 'zstd-codec'

const { Kafka, CompressionTypes, CompressionCodecs, ConfigResourceTypes, logLevel } = kafkajs
const PATIENCE_MS = 120_000

const zstd = await new Promise((ready) => ZstdCodec.run((codec) => ready(new codec.Streaming())))
CompressionCodecs[CompressionTypes.Snappy] = SnappyCodec
// Kafka takes independent blocks only. lz4js writes blocks of up to 4 MiB and says that they are
// linked; what is sent here fits one block, so the header may say otherwise, with its checksum.
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: async (encoder) => {
    const frame = Buffer.from(lz4.compress(encoder.buffer))
    Buffer.from([0x60, 0x70, 0x73]).copy(frame, 4)
    return frame
  },
  decompress: async (buffer) => Buffer.from(lz4.decompress(buffer)),
})
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async (encoder) => Buffer.from(zstd.compress(encoder.buffer)),
  decompress: async (buffer) => Buffer.from(zstd.decompress(buffer)),
})

const CODECS = {
  none: CompressionTypes.None,
  gzip: CompressionTypes.GZIP,
  snappy: CompressionTypes.Snappy,
  lz4: CompressionTypes.LZ4,
  zstd: CompressionTypes.ZSTD,
}

const [command, bootstrap, ...rest] = process.argv.slice(2)
const kafka = new Kafka({
  brokers: [bootstrap],
  logLevel: logLevel.NOTHING,
  retry: { initialRetryTime: 50, maxRetryTime: 500, retries: 200 },
})

const pause = (ms) => new Promise((done) => setTimeout(done, ms))

async function until(what, condition) {
  for (const end = Date.now() + PATIENCE_MS; Date.now() < end; await pause(50)) {
    if (await condition()) return
  }
  throw new Error(`not seen within ${PATIENCE_MS} ms: ${what}`)
}

function equal(got, wanted, what) {
  const text = (value) => JSON.stringify(value, (_, v) => (typeof v === 'bigint' ? String(v) : v))
  if (text(got) !== text(wanted)) throw new Error(`${what}: got ${text(got)}, not ${text(wanted)}`)
}

async function withAdmin(use) {
  const admin = kafka.admin()
  await admin.connect()
  try {
    return await use(admin)
  } finally {
    await admin.disconnect()
  }
}

const createTopic = (topic, numPartitions, configEntries = []) =>
  withAdmin((admin) => admin.createTopics({ topics: [{ topic, numPartitions, configEntries }] }))

async function withProducer(use) {
  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 })
  await producer.connect()
  try {
    return await use(producer)
  } finally {
    await producer.disconnect()
  }
}

// A group member that collects what it reads and knows which partitions it owns.
async function join(groupId, topic, onRecord) {
  const consumer = kafka.consumer({
    groupId,
    sessionTimeout: 10_000,
    heartbeatInterval: 200,
    maxWaitTimeInMs: 100,
    rebalanceTimeout: 10_000,
  })
  const member = { consumer, values: new Set(), owned: 0 }
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
    member.owned = (payload.memberAssignment[topic] ?? []).length
  })
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  await consumer.run({
    autoCommitThreshold: 1,
    eachMessage: async ({ partition, message }) => {
      if (message.value !== null) member.values.add(message.value.toString())
      onRecord?.(partition, message)
    },
  })
  member.leave = () => consumer.disconnect()
  return member
}

async function roundTrip(topic, codec) {
  await createTopic(topic, 3)
  const sent = []
  for (let n = 0; n < 300; n++) {
    sent.push({
      value: n % 50 === 7 ? null : Buffer.from(`value ${n} `.repeat(1 + (n % 40))),
      key: n % 3 === 0 ? null : Buffer.from(`key-${n}`),
      headers:
        n % 5 === 0 ? { trace: [Buffer.from([0, 255]), 'again'], empty: Buffer.alloc(0) } : {},
      timestamp: String(1_700_000_000_000 + n),
      partition: n % 3,
    })
  }
  await withProducer((producer) =>
    producer.send({ topic, compression: CODECS[codec], messages: sent, acks: -1 }),
  )
  const got = []
  const reader = await join(`${topic}-reader`, topic, (partition, m) => got.push({ partition, m }))
  await until('all records read', () => got.length >= sent.length)
  await reader.leave()
  equal(got.length, sent.length, 'records')
  for (const record of sent) {
    const { m } = got.find((g) => g.m.timestamp === record.timestamp)
    equal(m.value?.toString(), record.value?.toString(), `value at ${record.timestamp}`)
    equal(m.key?.toString(), record.key?.toString(), `key at ${record.timestamp}`)
    const flat = (headers) =>
      Object.entries(headers).map(([k, v]) => [k, [v].flat().map((b) => Buffer.from(b).toString('hex'))])
    equal(flat(m.headers), flat(record.headers), `headers at ${record.timestamp}`)
  }
}

async function groupRebalances(topic) {
  await createTopic(topic, 4)
  const send = (first) =>
    withProducer((producer) => {
      const messages = []
      for (let n = first; n < first + 200; n++) messages.push({ value: String(n), partition: n % 4 })
      return producer.send({ topic, messages })
    })
  const readTo = (end, ...members) => () => {
    for (let n = 0; n < end; n++) if (!members.some((m) => m.values.has(String(n)))) return false
    return true
  }
  const first = await join(`${topic}-group`, topic)
  await until('the first member owns all', () => first.owned === 4)
  await send(0)
  await until('the first member reads all', readTo(200, first))
  const second = await join(`${topic}-group`, topic)
  await until('two members share', () => first.owned === 2 && second.owned === 2)
  await send(200)
  await until('both read all', readTo(400, first, second))
  await first.leave()
  await until('the second member owns all', () => second.owned === 4)
  await send(400)
  await until('the second reads all', readTo(600, first, second))
  await second.leave()
}

async function commitAndResume(topic) {
  await createTopic(topic, 1)
  const groupId = `${topic}-group`
  for (const [first, end] of [[0, 100], [100, 150]]) {
    const messages = []
    for (let n = first; n < end; n++) messages.push({ value: String(n) })
    await withProducer((producer) => producer.send({ topic, messages }))
    const offsets = []
    const member = await join(groupId, topic, (_, m) => offsets.push(Number(m.offset)))
    await until(`records ${first} to ${end}`, () => offsets.length >= end - first)
    await member.leave()
    equal(offsets, messages.map((m) => Number(m.value)), 'offsets read')
  }
  await withAdmin(async (admin) => {
    const [{ partitions }] = await admin.fetchOffsets({ groupId, topics: [topic] })
    equal(partitions[0].offset, '150', 'the committed offset')
    const { groups } = await admin.listGroups()
    equal(groups.some((g) => g.groupId === groupId), true, 'the group is listed')
    await until('the group is deleted', () => admin.deleteGroups([groupId]).then(() => true, () => false))
  })
}

async function adminCalls(topic) {
  await createTopic(topic, 2, [{ name: 'retention.ms', value: '123456789' }])
  await withAdmin(async (admin) => {
    equal(await admin.createTopics({ topics: [{ topic }] }), false, 'created twice')
    const resource = { type: ConfigResourceTypes.TOPIC, name: topic }
    const retention = async () => {
      const answer = await admin.describeConfigs({ resources: [{ ...resource, configNames: ['retention.ms'] }] })
      return answer.resources[0].configEntries[0].configValue
    }
    equal(await retention(), '123456789', 'the created setting')
    await admin.alterConfigs({
      resources: [{ ...resource, configEntries: [{ name: 'retention.ms', value: '987654321' }] }],
    })
    await until('the altered setting', async () => (await retention()) === '987654321')
    await admin.createPartitions({ topicPartitions: [{ topic, count: 5 }] })
    const partitions = async () =>
      (await admin.fetchTopicMetadata({ topics: [topic] })).topics[0].partitions.length
    await until('five partitions', async () => (await partitions()) === 5)
    await admin.deleteTopics({ topics: [topic] })
    await until('the topic is gone', async () => !(await admin.listTopics()).includes(topic))
  })
}

async function runCases(prefix) {
  const cases = Object.keys(CODECS).map((codec) => [
    `round trip, ${codec}`,
    () => roundTrip(`${prefix}-round-trip-${codec}`, codec),
  ])
  cases.push(
    ['group rebalances while members come and go', () => groupRebalances(`${prefix}-group`)],
    ['commit and resume', () => commitAndResume(`${prefix}-commit`)],
    ['admin calls', () => adminCalls(`${prefix}-admin`)],
  )
  for (const [name, run] of cases) {
    try {
      await run()
      console.log(`ok ${name}`)
    } catch (error) {
      console.log(`not ok ${name}: ${String(error).replace(/\s+/g, ' ').slice(0, 400)}`)
    }
  }
}

async function load(topic, seconds) {
  await withProducer(async (producer) => {
    const end = Date.now() + seconds * 1000
    for (let number = 0; Date.now() < end; number += 50) {
      const partition = (number / 50) % 3
      const values = Array.from({ length: 50 }, (_, i) => String(number + i))
      const messages = values.map((value) => ({ value, partition }))
      const [sent] = await producer.send({ topic, messages, compression: CompressionTypes.GZIP })
      values.forEach((value, i) => console.log('acked', partition, Number(sent.baseOffset) + i, value))
    }
  })
}

async function drain(topic, count) {
  let seen = 0
  let last = Date.now()
  const member = await join(`drain-${Date.now()}`, topic, (partition, m) => {
    console.log('read', partition, m.offset, m.value.toString())
    seen += 1
    last = Date.now()
  })
  await until(`${count} records`, () => seen >= count && Date.now() - last > 2000)
  await member.leave()
}

// Copies a topic in transactions, every fifth of which is aborted and done again.
async function copy(source, target) {
  const groupId = `copy-${target}`
  const producer = kafka.producer({
    transactionalId: groupId,
    idempotent: true,
    maxInFlightRequests: 1,
  })
  const consumer = kafka.consumer({
    groupId,
    sessionTimeout: 10_000,
    heartbeatInterval: 200,
    maxWaitTimeInMs: 100,
    rebalanceTimeout: 10_000,
    maxBytesPerPartition: 8_192,
  })
  await producer.connect()
  await consumer.connect()
  await consumer.subscribe({ topic: source, fromBeginning: true })
  let number = 1
  await consumer.run({
    autoCommit: false,
    eachBatchAutoResolve: false,
    eachBatch: async ({ batch, resolveOffset, isRunning, isStale }) => {
      if (!isRunning() || isStale() || batch.isEmpty()) return
      const transaction = await producer.transaction()
      try {
        const messages = batch.messages.map(({ value }) => ({ value }))
        await transaction.send({ topic: target, messages })
        const offset = String(BigInt(batch.lastOffset()) + 1n)
        const partitions = [{ partition: batch.partition, offset }]
        await transaction.sendOffsets({
          consumerGroupId: groupId,
          topics: [{ topic: source, partitions }],
        })
        // Where it is aborted nothing is resolved: the batch is fetched again.
        if (number++ % 5 === 0) {
          await transaction.abort()
        } else {
          await transaction.commit()
          resolveOffset(batch.lastOffset())
        }
      } catch (error) {
        if (transaction.isActive()) await transaction.abort()
        throw error
      }
    },
  })
  await withAdmin((admin) => until('the copy', async () => {
    const [committed] = await admin.fetchOffsets({ groupId, topics: [source] })
    const ends = await admin.fetchTopicOffsets(source)
    const at = new Map(committed.partitions.map(({ partition, offset }) => [partition, offset]))
    return ends.every(({ partition, high }) => Math.max(Number(at.get(partition)), 0) === Number(high))
  }))
  console.log('copied')
  await consumer.disconnect()
}

if (command === 'cases') await runCases(rest[0])
else if (command === 'load') await load(rest[0], Number(rest[1]))
else if (command === 'copy') await copy(rest[0], rest[1])
else if (command === 'drain') await drain(rest[0], Number(rest[1]))
else throw new Error(`no command ${command}`)
process.exit(0)
