//! `ottla delete-records`: records deleted below an offset.

use std::collections::BTreeMap;
use std::io::Write as _;

use ottla_client::{TopicPartition, java_order};

use crate::options::{CommandLine, Options, text};
use crate::tool::{
    self, BOOTSTRAP_SERVER, COMMAND_CONFIG, Failure, HELP, Out, Tool, VERSION, require,
};
use crate::{json, kafka_errors};

pub(crate) const TOOL: Tool = Tool {
    name: "delete-records",
    line: &LINE,
    run,
};

const LINE: CommandLine = CommandLine {
    about: "Deletes the records of partitions below an offset.",
    commands: &[],
    options: &[
        BOOTSTRAP_SERVER,
        COMMAND_CONFIG,
        HELP,
        text(
            &["offset-json-file"],
            "file",
            "Required: {\"partitions\": [{\"topic\": \"t\", \"partition\": 0, \"offset\": 1}], \
             \"version\": 1}; offset -1 is the high watermark.",
        ),
        VERSION,
    ],
};

fn run(options: &Options, out: &mut Out) -> Result<(), Failure> {
    require(options, &["bootstrap-server", "offset-json-file"])?;
    let offsets = read(options.value("offset-json-file")?.unwrap_or_default())?;
    writeln!(out, "Executing records delete operation")?;
    out.flush()?;
    let deleted = tool::block_on(async {
        let admin = tool::admin(options)?;
        Ok(admin.delete_records(&offsets).await?)
    })?;
    writeln!(out, "Records delete operation completed:")?;
    let mut deleted: Vec<_> = deleted.into_iter().collect();
    java_order::sort_by_hash(&mut deleted, |(name, _)| java_order::partition_hash(name));
    for (name, outcome) in deleted {
        match outcome {
            Ok(offset) => writeln!(out, "partition: {name}\tlow_watermark: {offset}")?,
            Err(error) => {
                let error = kafka_errors::with_exception(&error);
                writeln!(out, "partition: {name}\terror: {error}")?;
            }
        }
    }
    Ok(())
}

fn read(path: &str) -> Result<BTreeMap<TopicPartition, i64>, Failure> {
    let file = json::File::read(path)?;
    file.check_version()?;
    let mut offsets = BTreeMap::new();
    let mut twice = Vec::new();
    for item in file.items("partitions")? {
        let name = file.partition(item)?;
        let offset = file.number(item, "offset")?;
        if offsets.insert(name.clone(), offset).is_some() {
            twice.push(name.to_string());
        }
    }
    match twice.is_empty() {
        true => Ok(offsets),
        false => Err(file.wrong(format!(
            "Offset json file contains duplicate topic partitions: {}",
            twice.join(",")
        ))),
    }
}
