//! The view of a broker that Rust programs have today, by the `rdkafka` crate: the cases that
//! `conformance/README.md` lists, with the same commands and lines of output as every client here.

use std::collections::BTreeMap;
use std::error::Error;
use std::time::{Duration, Instant};

use rdkafka::admin::{
    AdminClient, AdminOptions, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{
    BaseRecord, DefaultProducerContext, FutureProducer, FutureRecord, Producer, ThreadedProducer,
};
use rdkafka::{Offset, TopicPartitionList};

const PATIENCE: Duration = Duration::from_secs(60);

type Outcome = Result<(), Box<dyn Error>>;

#[tokio::main]
async fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().collect();
    let words: Vec<&str> = arguments.iter().skip(1).map(String::as_str).collect();
    match words[..] {
        ["cases", bootstrap, prefix] => cases(bootstrap, prefix).await,
        ["load", bootstrap, topic, seconds] => load(bootstrap, topic, seconds.parse()?).await?,
        ["drain", bootstrap, topic, count] => drain(bootstrap, topic, count.parse()?)?,
        ["copy", bootstrap, from, to] => copy(bootstrap, from, to, "classic")?,
        ["copy", bootstrap, from, to, protocol] => copy(bootstrap, from, to, protocol)?,
        _ => return Err("usage: cases|load|copy|drain BOOTSTRAP ...".into()),
    }
    Ok(())
}

async fn cases(bootstrap: &str, prefix: &str) {
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let topic = format!("{prefix}-round-trip-{codec}");
        report(
            &format!("round trip, {codec}"),
            round_trip(bootstrap, &topic, codec).await,
        );
    }
    report(
        "group rebalances while members come and go",
        group_rebalances(bootstrap, &format!("{prefix}-group")).await,
    );
    report(
        "commit and resume",
        commit_and_resume(bootstrap, &format!("{prefix}-commit")).await,
    );
    report(
        "admin calls",
        admin_calls(bootstrap, &format!("{prefix}-admin")).await,
    );
}

fn report(name: &str, outcome: Outcome) {
    match outcome {
        Ok(()) => println!("ok {name}"),
        Err(error) => println!("not ok {name}: {}", error.to_string().replace('\n', " ")),
    }
}

fn settings(bootstrap: &str) -> ClientConfig {
    let mut settings = ClientConfig::new();
    settings
        .set("bootstrap.servers", bootstrap)
        .set("reconnect.backoff.max.ms", "500");
    settings
}

fn producer(bootstrap: &str, codec: &str) -> Result<FutureProducer, Box<dyn Error>> {
    Ok(settings(bootstrap)
        .set("enable.idempotence", "true")
        .set("compression.type", codec)
        .set("linger.ms", "5")
        .set("message.timeout.ms", "60000")
        .create()?)
}

fn consumer(bootstrap: &str, group: &str, topic: &str) -> Result<BaseConsumer, Box<dyn Error>> {
    member(bootstrap, group, topic, "classic")
}

/// A consumer that joins its group by that protocol.
fn member(
    bootstrap: &str,
    group: &str,
    topic: &str,
    protocol: &str,
) -> Result<BaseConsumer, Box<dyn Error>> {
    let mut settings = settings(bootstrap);
    settings
        .set("group.id", group)
        .set("group.protocol", protocol)
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false")
        .set("fetch.wait.max.ms", "100");
    // By the consumer protocol the broker decides about them.
    if protocol == "classic" {
        settings
            .set("session.timeout.ms", "10000")
            .set("heartbeat.interval.ms", "200");
    }
    let consumer: BaseConsumer = settings.create()?;
    consumer.subscribe(&[topic])?;
    Ok(consumer)
}

fn admin(bootstrap: &str) -> Result<AdminClient<DefaultClientContext>, Box<dyn Error>> {
    Ok(settings(bootstrap).create()?)
}

async fn create_topic(bootstrap: &str, topic: &str, partitions: i32) -> Outcome {
    let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    for result in admin(bootstrap)?
        .create_topics([&new], &AdminOptions::new())
        .await?
    {
        result.map_err(|(name, code)| format!("creating {name}: {code}"))?;
    }
    Ok(())
}

async fn send(
    bootstrap: &str,
    topic: &str,
    partitions: usize,
    numbers: std::ops::Range<usize>,
) -> Outcome {
    let producer = producer(bootstrap, "none")?;
    let mut sent = Vec::new();
    for number in numbers {
        let value = number.to_string();
        let partition = i32::try_from(number % partitions)?;
        let record = FutureRecord::<(), _>::to(topic)
            .payload(&value)
            .partition(partition);
        sent.push(producer.send_result(record).map_err(|(error, _)| error)?);
    }
    for delivery in sent {
        delivery.await?.map_err(|(error, _)| error)?;
    }
    Ok(())
}

/// What came back: the place, and the parts that are compared.
type Received = BTreeMap<
    (i32, i64),
    (
        Option<Vec<u8>>,
        Option<Vec<u8>>,
        Option<i64>,
        Vec<(String, Vec<u8>)>,
    ),
>;

fn read(consumer: &BaseConsumer, count: usize) -> Result<Received, Box<dyn Error>> {
    let mut received = Received::new();
    let end = Instant::now() + PATIENCE;
    while received.len() < count && Instant::now() < end {
        let Some(message) = consumer.poll(Duration::from_millis(200)) else {
            continue;
        };
        let message = message?;
        let headers = message.headers().map_or(Vec::new(), |headers| {
            let owned =
                |h: Header<'_, &[u8]>| (h.key.to_owned(), h.value.unwrap_or_default().to_vec());
            headers.iter().map(owned).collect()
        });
        received.insert(
            (message.partition(), message.offset()),
            (
                message.payload().map(<[u8]>::to_vec),
                message.key().map(<[u8]>::to_vec),
                message.timestamp().to_millis(),
                headers,
            ),
        );
    }
    if received.len() == count {
        Ok(received)
    } else {
        Err(format!("read {} records of {count}", received.len()).into())
    }
}

async fn round_trip(bootstrap: &str, topic: &str, codec: &str) -> Outcome {
    create_topic(bootstrap, topic, 3).await?;
    let producer = producer(bootstrap, codec)?;
    let mut wanted = Received::new();
    let mut sent = Vec::new();
    for number in 0..300_usize {
        let value = (number % 50 != 7).then(|| {
            format!("value {number} ")
                .repeat(1 + number % 40)
                .into_bytes()
        });
        let key = (number % 3 != 0).then(|| format!("key-{number}").into_bytes());
        let timestamp = 1_700_000_000_000 + i64::try_from(number)?;
        let mut headers = Vec::new();
        if number % 5 == 0 {
            headers.push(("trace".to_owned(), vec![0, 255]));
            headers.push(("trace".to_owned(), b"again".to_vec()));
            headers.push(("empty".to_owned(), Vec::new()));
        }
        let mut record = FutureRecord::to(topic)
            .partition(i32::try_from(number % 3)?)
            .timestamp(timestamp);
        record.payload = value.as_ref();
        record.key = key.as_ref();
        if !headers.is_empty() {
            record.headers = Some(
                headers
                    .iter()
                    .fold(OwnedHeaders::new(), |all, (key, value)| {
                        all.insert(Header {
                            key,
                            value: Some(value),
                        })
                    }),
            );
        }
        let delivery = producer.send_result(record).map_err(|(error, _)| error)?;
        sent.push((delivery, (value, key, Some(timestamp), headers)));
    }
    for (delivery, parts) in sent {
        let ack = delivery.await?.map_err(|(error, _)| error)?;
        wanted.insert((ack.partition, ack.offset), parts);
    }
    let received = read(
        &consumer(bootstrap, &format!("{topic}-reader"), topic)?,
        300,
    )?;
    for (place, parts) in &wanted {
        if received.get(place) != Some(parts) {
            return Err(format!(
                "at {place:?} {parts:?} came back as {:?}",
                received.get(place)
            )
            .into());
        }
    }
    Ok(())
}

/// A group member that is polled in turn with the others.
struct Member {
    consumer: BaseConsumer,
    values: std::collections::BTreeSet<String>,
}

impl Member {
    fn join(bootstrap: &str, topic: &str) -> Result<Self, Box<dyn Error>> {
        let consumer = consumer(bootstrap, &format!("{topic}-group"), topic)?;
        Ok(Self {
            consumer,
            values: Default::default(),
        })
    }

    fn poll(&mut self) -> Outcome {
        while let Some(message) = self.consumer.poll(Duration::from_millis(20)) {
            let message = message?;
            self.values.insert(
                String::from_utf8_lossy(message.payload().unwrap_or_default()).into_owned(),
            );
            // A rebalance may overtake a commit: the next one covers it.
            let _ = self.consumer.commit_message(&message, CommitMode::Async);
        }
        Ok(())
    }
}

/// Poll the members until each owns its share and together they have read all below `end`.
fn settle(what: &str, members: &mut [&mut Member], end: usize) -> Outcome {
    let deadline = Instant::now() + PATIENCE;
    let share = 4 / members.len();
    while Instant::now() < deadline {
        let mut shared = true;
        for member in members.iter_mut() {
            member.poll()?;
            shared &= member.consumer.assignment()?.count() == share;
        }
        let read = |n: usize| {
            members
                .iter()
                .any(|member| member.values.contains(&n.to_string()))
        };
        if shared && (0..end).all(read) {
            return Ok(());
        }
    }
    Err(format!("not seen within {PATIENCE:?}: {what}").into())
}

async fn group_rebalances(bootstrap: &str, topic: &str) -> Outcome {
    create_topic(bootstrap, topic, 4).await?;
    let mut first = Member::join(bootstrap, topic)?;
    send(bootstrap, topic, 4, 0..200).await?;
    settle("the first member reads all", &mut [&mut first], 200)?;
    let mut second = Member::join(bootstrap, topic)?;
    settle("two members share", &mut [&mut first, &mut second], 200)?;
    send(bootstrap, topic, 4, 200..400).await?;
    settle("both read all", &mut [&mut first, &mut second], 400)?;
    second.values.append(&mut first.values);
    drop(first);
    settle("the second member owns all", &mut [&mut second], 400)?;
    send(bootstrap, topic, 4, 400..600).await?;
    settle("the second member reads all", &mut [&mut second], 600)
}

async fn commit_and_resume(bootstrap: &str, topic: &str) -> Outcome {
    create_topic(bootstrap, topic, 1).await?;
    let group = format!("{topic}-group");
    for range in [0..100, 100..150] {
        send(bootstrap, topic, 1, range.clone()).await?;
        let consumer = consumer(bootstrap, &group, topic)?;
        let received = read(&consumer, range.len())?;
        let offsets: Vec<usize> = received
            .keys()
            .map(|(_, offset)| usize::try_from(*offset))
            .collect::<Result<_, _>>()?;
        if !offsets.iter().copied().eq(range.clone()) {
            return Err(format!("read {offsets:?}, not {range:?}").into());
        }
        consumer.commit_consumer_state(CommitMode::Sync)?;
    }
    let consumer = consumer(bootstrap, &group, topic)?;
    let mut asked = rdkafka::TopicPartitionList::new();
    asked.add_partition(topic, 0);
    let committed = consumer.committed_offsets(asked, PATIENCE)?.elements()[0].offset();
    if committed != rdkafka::Offset::Offset(150) {
        return Err(format!("committed {committed:?}").into());
    }
    Ok(())
}

async fn admin_calls(bootstrap: &str, topic: &str) -> Outcome {
    let admin = admin(bootstrap)?;
    let options = AdminOptions::new();
    let new = NewTopic::new(topic, 2, TopicReplication::Fixed(1)).set("retention.ms", "123456789");
    admin
        .create_topics([&new], &options)
        .await?
        .remove(0)
        .map_err(|(_, code)| code.to_string())?;
    if admin
        .create_topics([&new], &options)
        .await?
        .remove(0)
        .is_ok()
    {
        return Err("created twice".into());
    }
    let described = admin
        .describe_configs([&ResourceSpecifier::Topic(topic)], &options)
        .await?
        .remove(0)?;
    let retention = described
        .get("retention.ms")
        .and_then(|entry| entry.value.clone());
    if retention.as_deref() != Some("123456789") {
        return Err(format!("retention.ms is {retention:?}").into());
    }
    let more = NewPartitions::new(topic, 5);
    admin
        .create_partitions([&more], &options)
        .await?
        .remove(0)
        .map_err(|(_, code)| code.to_string())?;
    let watcher: BaseConsumer = settings(bootstrap).create()?;
    let partitions = |wanted: usize| {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let found = watcher.fetch_metadata(None, PATIENCE)?;
            let count = found
                .topics()
                .iter()
                .find(|t| t.name() == topic)
                .map_or(0, |t| t.partitions().len());
            if count == wanted {
                return Ok::<(), Box<dyn Error>>(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err(format!("{wanted} partitions were not seen").into())
    };
    partitions(5)?;
    admin
        .delete_topics(&[topic], &options)
        .await?
        .remove(0)
        .map_err(|(_, code)| code.to_string())?;
    partitions(0)
}

async fn load(bootstrap: &str, topic: &str, seconds: f64) -> Outcome {
    let producer = producer(bootstrap, "zstd")?;
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    let mut number = 0;
    while Instant::now() < end {
        let mut sent = Vec::new();
        for n in number..number + 50 {
            let value = n.to_string();
            let record = FutureRecord::<(), _>::to(topic)
                .payload(&value)
                .partition(n % 3);
            sent.push((n, producer.send_result(record).map_err(|(error, _)| error)?));
        }
        for (n, delivery) in sent {
            let ack = delivery.await?.map_err(|(error, _)| error)?;
            println!("acked {} {} {n}", ack.partition, ack.offset);
        }
        number += 50;
    }
    Ok(())
}

/// The ends of transactions flush, and in a client of events, as the crate's are, that waits until somebody
/// else takes the reports of delivery: this one has a thread for it.
type TransactionalProducer = ThreadedProducer<DefaultProducerContext>;

/// Copies a topic in transactions, every fifth of which is aborted and done again.
fn copy(bootstrap: &str, from: &str, to: &str, protocol: &str) -> Outcome {
    let name = format!("copy-{to}");
    let producer: TransactionalProducer = settings(bootstrap)
        .set("transactional.id", &name)
        // With "rebootstrap" it forgets, while the only broker is away, that it has offsets to send in a
        // transaction, and that call never returns.
        .set("metadata.recovery.strategy", "none")
        .create()?;
    let consumer = member(bootstrap, &name, from, protocol)?;
    producer.init_transactions(PATIENCE)?;
    let deadline = Instant::now() + PATIENCE;
    let mut number = 1;
    while Instant::now() < deadline {
        let mut values = Vec::new();
        while values.len() < 200 {
            let Some(message) = consumer.poll(Duration::from_millis(300)) else {
                break;
            };
            values.push(message?.payload().unwrap_or_default().to_vec());
        }
        if values.is_empty() {
            if is_copied(&consumer)? {
                println!("copied");
                return Ok(());
            }
            continue;
        }
        producer.begin_transaction()?;
        let copied = copy_once(&producer, &consumer, (to, &values));
        let ended = match copied {
            Ok(()) if number % 5 != 0 => producer.commit_transaction(PATIENCE),
            Ok(()) => undo(&producer, &consumer),
            Err(error) => Err(error),
        };
        match ended {
            Err(error) if must_abort(&error) => undo(&producer, &consumer)?,
            ended => ended?,
        }
        number += 1;
    }
    Err("the topic is not copied in time".into())
}

fn must_abort(error: &KafkaError) -> bool {
    matches!(error, KafkaError::Transaction(cause) if cause.txn_requires_abort())
}

fn copy_once(
    producer: &TransactionalProducer,
    consumer: &BaseConsumer,
    (to, values): (&str, &[Vec<u8>]),
) -> Result<(), KafkaError> {
    for value in values {
        let record = BaseRecord::<(), _>::to(to).payload(value);
        producer.send(record).map_err(|(error, _)| error)?;
    }
    if let Some(group) = consumer.group_metadata() {
        producer.send_offsets_to_transaction(&consumer.position()?, &group, PATIENCE)?;
    }
    Ok(())
}

/// Aborts, and goes back to where the last transaction ended.
fn undo(producer: &TransactionalProducer, consumer: &BaseConsumer) -> Result<(), KafkaError> {
    producer.abort_transaction(PATIENCE)?;
    let mut back = TopicPartitionList::new();
    for place in consumer.committed(PATIENCE)?.elements() {
        let offset = match place.offset() {
            Offset::Invalid => Offset::Beginning,
            offset => offset,
        };
        back.add_partition_offset(place.topic(), place.partition(), offset)?;
    }
    consumer.seek_partitions(back, PATIENCE)?;
    Ok(())
}

fn is_copied(consumer: &BaseConsumer) -> Result<bool, KafkaError> {
    let committed = consumer.committed(PATIENCE)?;
    for place in committed.elements() {
        let (_, end) = consumer.fetch_watermarks(place.topic(), place.partition(), PATIENCE)?;
        if place.offset().to_raw().unwrap_or(-1).max(0) != end {
            return Ok(false);
        }
    }
    Ok(committed.count() > 0)
}

fn drain(bootstrap: &str, topic: &str, count: usize) -> Outcome {
    let consumer = consumer(bootstrap, &format!("drain-{}", std::process::id()), topic)?;
    let (mut seen, mut quiet_since) = (0, Instant::now());
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline
        && (seen < count || quiet_since.elapsed() < Duration::from_secs(2))
    {
        if let Some(message) = consumer.poll(Duration::from_millis(200)) {
            let message = message?;
            let value = String::from_utf8_lossy(message.payload().unwrap_or_default()).into_owned();
            println!("read {} {} {value}", message.partition(), message.offset());
            seen += 1;
            quiet_since = Instant::now();
        }
    }
    Ok(())
}
