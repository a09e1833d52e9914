//! The native part of the side-by-side benchmark.
//!
//! `latency` sends records on a fixed schedule and tells how late each was acknowledged and consumed, counted from
//! when it was due; `echo` answers the same requests with nothing behind them; `limit` measures what the machine lets
//! any broker do. Each prints one line of JSON.

mod arguments;
mod echo;
mod histogram;
mod latency;
mod limit;
mod wire;

use std::process::ExitCode;

use arguments::Arguments;

const USAGE: &str = "\
ottla-bench-client latency --port PORT --topic TOPIC --partitions N --rate N --seconds N --warm-up N --record-size N
ottla-bench-client latency-floor (the same options without --port)
ottla-bench-client limit --folder DIR --mib N --block N";

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let command = words.next().unwrap_or_default();
    let result = Arguments::parse(words).and_then(|arguments| match command.as_str() {
        "latency" => latency::run(&arguments),
        "latency-floor" => latency::run_floor(&arguments),
        "limit" => limit::run(&arguments),
        _ => Err(USAGE.to_owned()),
    });
    match result {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(reason) => {
            eprintln!("ottla-bench-client: {reason}");
            ExitCode::FAILURE
        }
    }
}
