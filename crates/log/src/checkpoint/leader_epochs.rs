use super::{VERSION, entry_lines};

/// The content of `leader-epoch-checkpoint`: epochs with their start offsets.
pub(crate) fn encode_leader_epochs(entries: impl ExactSizeIterator<Item = (i32, i64)>) -> Vec<u8> {
    let mut content = format!("{VERSION}\n{}\n", entries.len());
    for (epoch, start_offset) in entries {
        content.push_str(&format!("{epoch} {start_offset}\n"));
    }
    content.into_bytes()
}

/// The entries of `leader-epoch-checkpoint`, or why it is none.
pub(crate) fn decode_leader_epochs(content: &[u8]) -> Result<Vec<(i32, i64)>, String> {
    let lines = entry_lines(content)?;
    lines
        .into_iter()
        .map(|line| {
            let mut words = line.split_ascii_whitespace();
            let entry = (words.next(), words.next(), words.next());
            let (Some(epoch), Some(start_offset), None) = entry else {
                return Err(format!("{line:?} is no epoch and offset"));
            };
            match (epoch.parse(), start_offset.parse()) {
                (Ok(epoch), Ok(start_offset)) => Ok((epoch, start_offset)),
                _ => Err(format!("{line:?} is no epoch and offset")),
            }
        })
        .collect()
}
