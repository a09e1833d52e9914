//! Exchanges messages as bytes with Apache Kafka's own classes; `conformance/messages` runs it.
//!
//! `write SEED ROUNDS FILE` writes random messages, ROUNDS of every version; `check FILE` reads
//! each message of a file, writes it again and compares.

use std::error::Error;
use std::process::ExitCode;
use std::{env, fs};

use ottla_protocol::messages::vectors::Vector;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["write", seed, rounds, path] => {
            fs::write(path, Vector::random_file(seed.parse()?, rounds.parse()?)?)?;
            Ok(ExitCode::SUCCESS)
        }
        ["check", path] => {
            let vectors = Vector::read_all(fs::read(path)?.into())?;
            let differing = vectors
                .iter()
                .filter_map(Vector::difference)
                .inspect(|difference| {
                    eprintln!("{difference}");
                });
            let differing = differing.count();
            println!(
                "{} vectors the same, {differing} not",
                vectors.len() - differing
            );
            Ok(ExitCode::from(u8::from(
                differing > 0 || vectors.is_empty(),
            )))
        }
        _ => Err("write SEED ROUNDS FILE | check FILE".into()),
    }
}
