//! Memory, processor time and open files of the process, as Prometheus names them.

use std::fmt::Error;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

#[derive(Debug)]
pub(super) struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let Some(usage) = Usage::read() else {
            return Ok(());
        };
        encoder
            .encode_descriptor(
                "process_cpu_seconds",
                "Processor time used",
                None,
                MetricType::Counter,
            )?
            .encode_counter::<NoLabelSet, _, f64>(&usage.cpu_seconds, None)?;
        let gauges = [
            (
                "process_resident_memory_bytes",
                "Memory in use",
                usage.resident_bytes,
            ),
            (
                "process_virtual_memory_bytes",
                "Address space in use",
                usage.virtual_bytes,
            ),
            (
                "process_open_fds",
                "Open files and sockets",
                usage.open_files,
            ),
            ("process_threads", "Threads", usage.threads),
        ];
        for (name, help, value) in gauges {
            encoder
                .encode_descriptor(name, help, None, MetricType::Gauge)?
                .encode_gauge(&value)?;
        }
        Ok(())
    }
}

struct Usage {
    cpu_seconds: f64,
    resident_bytes: i64,
    virtual_bytes: i64,
    open_files: i64,
    threads: i64,
}

impl Usage {
    /// From `/proc`; nothing on a system without it.
    #[expect(
        clippy::cast_precision_loss,
        reason = "processor time is far below 2^52 ticks"
    )]
    fn read() -> Option<Self> {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        // The second field, the program's name, may hold blanks; it ends at the last parenthesis.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<i64>().ok();
        let page = i64::try_from(rustix::param::page_size()).ok()?;
        let ticks_per_second = rustix::param::clock_ticks_per_second();
        let open_files = std::fs::read_dir("/proc/self/fd").ok()?.count();
        Some(Self {
            cpu_seconds: (field(14)? + field(15)?) as f64 / ticks_per_second as f64,
            resident_bytes: field(24)? * page,
            virtual_bytes: field(23)?,
            open_files: i64::try_from(open_files).ok()?,
            threads: field(20)?,
        })
    }
}
