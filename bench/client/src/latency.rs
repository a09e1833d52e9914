//! Records on a fixed schedule, each latency counted from when the record was due.
//!
//! So a broker that stalls pays for every record that it kept from being sent, which a client that waits for answers
//! before it looks at the clock would leave out. One thread, two connections: one produces with five requests in
//! flight at most, each with all the records that are due by then, as Kafka's clients do; one consumes.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::arguments::Arguments;
use crate::histogram::Latencies;
use crate::wire::{self, Frames};
use crate::{echo, wire::batch};

const IN_FLIGHT_MAX: usize = 5;
const RECORDS_PER_REQUEST_MAX: u64 = 500;
/// How long after the last record was due answers may still come.
const PATIENCE: Duration = Duration::from_secs(60);

struct Plan {
    topic: String,
    partitions: usize,
    interval_ns: u64,
    /// Records that are not counted, at the start.
    warm_up: u64,
    total: u64,
    record_size: usize,
}

impl Plan {
    fn new(arguments: &Arguments) -> Result<Plan, String> {
        let rate: u64 = arguments.get("rate")?;
        let warm_up: u64 = arguments.get("warm-up")?;
        let seconds: u64 = arguments.get("seconds")?;
        Ok(Plan {
            topic: arguments.get("topic")?,
            partitions: arguments.get("partitions")?,
            interval_ns: 1_000_000_000 / rate,
            warm_up: warm_up * rate,
            total: (warm_up + seconds) * rate,
            record_size: arguments.get("record-size")?,
        })
    }
}

/// A connection that does not wait.
struct Peer {
    stream: TcpStream,
    frames: Frames,
    unsent: Vec<u8>,
}

impl Peer {
    fn connect(port: u16) -> io::Result<Peer> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Peer {
            stream,
            frames: Frames::default(),
            unsent: Vec::new(),
        })
    }

    fn send(&mut self, bytes: Vec<u8>) -> io::Result<()> {
        self.unsent = bytes;
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(written) => drop(self.unsent.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn events(&self) -> PollFlags {
        if self.unsent.is_empty() {
            PollFlags::IN
        } else {
            PollFlags::IN | PollFlags::OUT
        }
    }
}

struct Run<'a> {
    plan: &'a Plan,
    started: Instant,
    producer: Peer,
    consumer: Option<Peer>,
    in_flight: VecDeque<(u64, u64)>,
    next: u64,
    requests: i32,
    offsets: Vec<i64>,
    acknowledged: Latencies,
    consumed: Latencies,
    acknowledged_count: u64,
    consumed_count: u64,
}

/// Against a broker.
pub fn run(arguments: &Arguments) -> Result<String, String> {
    let plan = Plan::new(arguments)?;
    let port = arguments.get("port")?;
    let consumer = Peer::connect(port).map_err(|error| format!("cannot connect: {error}"))?;
    measure(&plan, port, Some(consumer))
}

/// Against nothing but a socket.
pub fn run_floor(arguments: &Arguments) -> Result<String, String> {
    let plan = Plan::new(arguments)?;
    let port = echo::start().map_err(|error| format!("cannot listen: {error}"))?;
    measure(&plan, port, None)
}

fn measure(plan: &Plan, port: u16, consumer: Option<Peer>) -> Result<String, String> {
    // Without this the kernel may add 50 microseconds to each wait for the schedule.
    let slack = std::num::NonZeroU64::new(1);
    rustix::thread::set_current_timer_slack(slack).map_err(|error| error.to_string())?;
    let mut run = Run {
        plan,
        started: Instant::now() + Duration::from_millis(200),
        producer: Peer::connect(port).map_err(|error| format!("cannot connect: {error}"))?,
        consumer,
        in_flight: VecDeque::new(),
        next: 0,
        requests: 0,
        offsets: vec![0; plan.partitions],
        acknowledged: Latencies::new(),
        consumed: Latencies::new(),
        acknowledged_count: 0,
        consumed_count: 0,
    };
    run.fetch()?;
    while !run.is_done() {
        run.step()?;
    }
    let requests = run.requests;
    let acknowledged = run.acknowledged.into_json();
    let consumed = if run.consumed.count() > 0 {
        run.consumed.into_json()
    } else {
        "null".to_owned()
    };
    Ok(format!(
        r#"{{"requests": {requests}, "acknowledged": {acknowledged}, "consumed": {consumed}}}"#
    ))
}

impl Run<'_> {
    fn is_done(&self) -> bool {
        let consumed = self.consumer.is_none() || self.consumed_count >= self.plan.total;
        self.acknowledged_count >= self.plan.total && consumed
    }

    fn due_at(&self, record: u64) -> Instant {
        self.started + Duration::from_nanos(record * self.plan.interval_ns)
    }

    fn step(&mut self) -> Result<(), String> {
        let now = Instant::now();
        if now > self.due_at(self.plan.total) + PATIENCE {
            return Err(format!(
                "of {} records {} were acknowledged and {} consumed",
                self.plan.total, self.acknowledged_count, self.consumed_count
            ));
        }
        self.send_due(now)?;
        self.wait(now)?;
        let ended = self.receive().map_err(|error| error.to_string())?;
        if ended {
            return Err("the broker closed a connection".to_owned());
        }
        self.take_acknowledgements()?;
        self.take_fetched()
    }

    fn can_send(&self) -> bool {
        self.in_flight.len() < IN_FLIGHT_MAX && self.producer.unsent.is_empty()
    }

    fn send_due(&mut self, now: Instant) -> Result<(), String> {
        let elapsed = now.saturating_duration_since(self.started).as_nanos() as u64;
        let has_begun = now >= self.started;
        let due = if has_begun {
            (elapsed / self.plan.interval_ns + 1).min(self.plan.total)
        } else {
            0
        };
        while self.next < due && self.can_send() {
            let count = (due - self.next).min(RECORDS_PER_REQUEST_MAX);
            let timestamp_ms = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_millis() as i64);
            let records = batch(
                self.next,
                count as usize,
                self.plan.record_size,
                timestamp_ms,
            );
            let partition = self.requests % self.plan.partitions as i32;
            let request = wire::produce(self.requests, &self.plan.topic, partition, &records);
            self.producer
                .send(request)
                .map_err(|error| error.to_string())?;
            self.in_flight.push_back((self.next, count));
            self.requests += 1;
            self.next += count;
        }
        Ok(())
    }

    /// Waits for the next record to be due, or for a peer.
    fn wait(&self, now: Instant) -> Result<(), String> {
        let until = if self.next < self.plan.total && self.can_send() {
            self.due_at(self.next).saturating_duration_since(now)
        } else {
            Duration::from_secs(1)
        };
        let timeout = Timespec {
            tv_sec: until.as_secs() as i64,
            tv_nsec: i64::from(until.subsec_nanos()),
        };
        let mut fds = vec![PollFd::new(&self.producer.stream, self.producer.events())];
        if let Some(consumer) = &self.consumer {
            fds.push(PollFd::new(&consumer.stream, consumer.events()));
        }
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn receive(&mut self) -> io::Result<bool> {
        let mut ended = false;
        for peer in std::iter::once(&mut self.producer).chain(&mut self.consumer) {
            peer.flush()?;
            ended |= peer.frames.fill(&mut peer.stream)?;
        }
        Ok(ended)
    }

    fn take_acknowledgements(&mut self) -> Result<(), String> {
        while let Some(frame) = self.producer.frames.next() {
            let now = Instant::now();
            let error = wire::produce_error(&frame)?;
            if error != 0 {
                return Err(format!("a produce was answered with error {error}"));
            }
            let (first, count) = self
                .in_flight
                .pop_front()
                .ok_or("an answer to no request")?;
            self.acknowledged_count += count;
            for record in first..first + count {
                if record >= self.plan.warm_up {
                    let late = now.saturating_duration_since(self.due_at(record));
                    self.acknowledged.add(late.as_nanos() as u64);
                }
            }
        }
        Ok(())
    }

    fn take_fetched(&mut self) -> Result<(), String> {
        while let Some(frame) = self.consumer.as_mut().and_then(|peer| peer.frames.next()) {
            let now = Instant::now();
            let mut batches = Vec::new();
            wire::fetched(&frame, &mut self.offsets, |first, count| {
                batches.push((first, count as u64));
            })?;
            for (first, count) in batches {
                self.consumed_count += count;
                for record in first..first + count {
                    if record >= self.plan.warm_up {
                        let late = now.saturating_duration_since(self.due_at(record));
                        self.consumed.add(late.as_nanos() as u64);
                    }
                }
            }
            self.fetch()?;
        }
        Ok(())
    }

    fn fetch(&mut self) -> Result<(), String> {
        let request = wire::fetch(0, &self.plan.topic, &self.offsets);
        match &mut self.consumer {
            Some(consumer) => consumer.send(request).map_err(|error| error.to_string()),
            None => Ok(()),
        }
    }
}
