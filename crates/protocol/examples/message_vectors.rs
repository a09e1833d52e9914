//! Exchanges messages as bytes with Apache Kafka's own classes; `conformance/messages` runs it.
//!
//! `write SEED ROUNDS FILE` writes random messages, ROUNDS of every version; `check FILE` reads
//! each message of a file, writes it again and compares; `check-crossings FILE` writes every other
//! message of a file in the version of the one that follows it, and compares.

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
            Ok(tell(
                &vectors.iter().map(Vector::difference).collect::<Vec<_>>(),
            ))
        }
        ["check-crossings", path] => {
            let vectors = Vector::read_all(fs::read(path)?.into())?;
            let pairs = vectors.chunks_exact(2);
            Ok(tell(
                &pairs
                    .map(|pair| pair[0].difference_to(&pair[1]))
                    .collect::<Vec<_>>(),
            ))
        }
        _ => Err("write SEED ROUNDS FILE | check FILE | check-crossings FILE".into()),
    }
}

fn tell(outcomes: &[Option<String>]) -> ExitCode {
    let differing = outcomes
        .iter()
        .flatten()
        .inspect(|difference| eprintln!("{difference}"));
    let differing = differing.count();
    println!(
        "{} vectors the same, {differing} not",
        outcomes.len() - differing
    );
    ExitCode::from(u8::from(differing > 0 || outcomes.is_empty()))
}
