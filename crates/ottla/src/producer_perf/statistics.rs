//! Latencies and rates of a run.

use std::collections::HashMap;
use std::io::Write;
use std::time::{Duration, Instant};

use ottla_client::core::producer::BatchId;

/// Latencies above this many milliseconds count as this many.
const LATENCY_MS_MAX: usize = 600_000;

#[derive(Debug, Default)]
struct Tally {
    records: u64,
    bytes: u64,
    latency_sum_ms: u64,
    latency_max_ms: u64,
}

/// One batch's records.
#[derive(Debug, Default)]
struct Batch {
    sent: Vec<Instant>,
    bytes: u64,
}

#[derive(Debug)]
pub(super) struct Statistics {
    began: Instant,
    interval: Duration,
    warmup: u64,
    /// When the records of the warm-up were done.
    warm: Option<Instant>,
    total: Tally,
    steady: Tally,
    window: Tally,
    window_began: Instant,
    /// How many records took so many milliseconds.
    latencies: Vec<u64>,
    steady_latencies: Vec<u64>,
    under_way: HashMap<BatchId, Batch>,
    /// Batches that were done before their last record was counted.
    early: HashMap<BatchId, Instant>,
}

impl Statistics {
    pub(super) fn new(interval: Duration, warmup: u64) -> Self {
        let now = Instant::now();
        Self {
            began: now,
            interval,
            warmup,
            warm: (warmup == 0).then_some(now),
            total: Tally::default(),
            steady: Tally::default(),
            window: Tally::default(),
            window_began: now,
            latencies: Vec::new(),
            steady_latencies: Vec::new(),
            under_way: HashMap::new(),
            early: HashMap::new(),
        }
    }

    pub(super) fn sent(&mut self, batch: BatchId, sent: Instant, bytes: usize) {
        if let Some(done) = self.early.get(&batch).copied() {
            return self.count(sent, done, bytes as u64);
        }
        let batch = self.under_way.entry(batch).or_default();
        batch.sent.push(sent);
        batch.bytes += bytes as u64;
    }

    pub(super) fn delivered(&mut self, id: BatchId) {
        let done = Instant::now();
        let batch = self.under_way.remove(&id).unwrap_or_default();
        self.early.retain(|early, _| early.0 + 1_000 > id.0);
        self.early.insert(id, done);
        let records = batch.sent.len().max(1) as u64;
        for sent in batch.sent {
            self.count(sent, done, batch.bytes / records);
        }
    }

    pub(super) fn lost(&mut self, id: BatchId) {
        self.under_way.remove(&id);
    }

    fn count(&mut self, sent: Instant, done: Instant, bytes: u64) {
        let latency = done.saturating_duration_since(sent).as_millis();
        let latency_ms = usize::try_from(latency)
            .unwrap_or(LATENCY_MS_MAX)
            .min(LATENCY_MS_MAX);
        self.total.add(bytes, latency_ms as u64);
        self.window.add(bytes, latency_ms as u64);
        tally(&mut self.latencies, latency_ms);
        if self.total.records > self.warmup {
            self.warm.get_or_insert(done);
            if self.warmup > 0 {
                self.steady.add(bytes, latency_ms as u64);
                tally(&mut self.steady_latencies, latency_ms);
            }
        }
        if self.window_began.elapsed() >= self.interval {
            self.print_window();
        }
    }

    fn print_window(&mut self) {
        let (rate, megabytes) = self.window.rates(self.window_began.elapsed());
        println!(
            "{} records sent, {rate:.1} records/sec ({megabytes:.2} MB/sec), {:.1} ms avg latency, \
             {:.1} ms max latency.",
            self.window.records,
            self.window.average_ms(),
            self.window.latency_max_ms as f64,
        );
        self.window = Tally::default();
        self.window_began = Instant::now();
    }

    pub(super) fn write_total(&self, out: &mut impl Write) -> std::io::Result<()> {
        write_line(
            out,
            &self.total,
            self.began.elapsed(),
            (&self.latencies, "records"),
        )?;
        if let (true, Some(warm)) = (self.warmup > 0, self.warm) {
            let latencies = (self.steady_latencies.as_slice(), "steady state records");
            write_line(out, &self.steady, warm.elapsed(), latencies)?;
        }
        Ok(())
    }
}

fn write_line(
    out: &mut impl Write,
    tally: &Tally,
    elapsed: Duration,
    (latencies, what): (&[u64], &str),
) -> std::io::Result<()> {
    let (rate, megabytes) = tally.rates(elapsed);
    let at = |share: f64| percentile(latencies, tally.records, share);
    writeln!(
        out,
        "{} {what} sent, {rate:.6} records/sec ({megabytes:.2} MB/sec), {:.2} ms avg latency, \
         {:.2} ms max latency, {} ms 50th, {} ms 95th, {} ms 99th, {} ms 99.9th.",
        tally.records,
        tally.average_ms(),
        tally.latency_max_ms as f64,
        at(0.5),
        at(0.95),
        at(0.99),
        at(0.999),
    )
}

fn tally(latencies: &mut Vec<u64>, latency_ms: usize) {
    if latencies.len() <= latency_ms {
        latencies.resize(latency_ms + 1, 0);
    }
    if let Some(count) = latencies.get_mut(latency_ms) {
        *count += 1;
    }
}

/// The latency that this share of the records stayed below.
fn percentile(latencies: &[u64], records: u64, share: f64) -> usize {
    let rank = share * records as f64;
    let mut seen = 0;
    for (latency_ms, count) in latencies.iter().enumerate() {
        seen += count;
        if seen as f64 > rank {
            return latency_ms;
        }
    }
    latencies.len().saturating_sub(1)
}

impl Tally {
    fn add(&mut self, bytes: u64, latency_ms: u64) {
        self.records += 1;
        self.bytes += bytes;
        self.latency_sum_ms += latency_ms;
        self.latency_max_ms = self.latency_max_ms.max(latency_ms);
    }

    /// Records and megabytes a second.
    fn rates(&self, elapsed: Duration) -> (f64, f64) {
        let seconds = elapsed.as_secs_f64().max(0.001);
        let megabytes = self.bytes as f64 / (1024.0 * 1024.0);
        (self.records as f64 / seconds, megabytes / seconds)
    }

    fn average_ms(&self) -> f64 {
        self.latency_sum_ms as f64 / self.records.max(1) as f64
    }
}
