//! The voters of `--initial-controllers`: `id@host:port:directory-id`, separated by commas.

use ottla_protocol::Uuid;

/// One initial voter of a dynamic quorum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct InitialVoter {
    pub(super) node_id: i32,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) directory_id: Uuid,
}

/// Reads the voters, or says in Kafka's words what is wrong.
pub(super) fn parse(text: &str) -> Result<Vec<InitialVoter>, String> {
    let mut voters: Vec<InitialVoter> = Vec::new();
    for entry in text
        .split(',')
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
    {
        let voter = parse_one(entry)?;
        if voters.iter().any(|other| other.node_id == voter.node_id) {
            return Err(format!(
                "Node id {} was specified more than once.",
                voter.node_id
            ));
        }
        voters.push(voter);
    }
    if voters.is_empty() {
        return Err("No voters given.".to_owned());
    }
    Ok(voters)
}

fn parse_one(entry: &str) -> Result<InitialVoter, String> {
    let (id, rest) = entry
        .split_once('@')
        .ok_or("No @ found in dynamic voter string.")?;
    let node_id: i32 = id
        .parse()
        .map_err(|_| "Failed to parse node id in dynamic voter string.")?;
    if node_id < 0 {
        return Err(format!(
            "Invalid negative node id {node_id} in dynamic voter string."
        ));
    }
    if rest.is_empty() {
        return Err("No hostname found after node id.".to_owned());
    }
    let (host, rest) = match rest.strip_prefix('[') {
        Some(bracketed) => {
            let (host, rest) = bracketed
                .split_once(']')
                .ok_or("Hostname began with left bracket, but no right bracket was found.")?;
            (
                host,
                rest.strip_prefix(':')
                    .ok_or("No colon following hostname could be found.")?,
            )
        }
        None => rest
            .split_once(':')
            .ok_or("No colon following hostname could be found.")?,
    };
    let (port, directory) = rest
        .split_once(':')
        .ok_or("No colon following port could be found.")?;
    let port = port
        .parse()
        .map_err(|_| "Failed to parse port in dynamic voter string.")?;
    let directory_id = directory
        .parse()
        .map_err(|_| "Failed to parse directory ID in dynamic voter string.")?;
    Ok(InitialVoter {
        node_id,
        host: host.to_owned(),
        port,
        directory_id,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn voters_are_read() {
        let voters =
            parse("0@a:1:QjOZC9FKQ1mLi7MhU1vPuQ, 2@[::1]:9093:iAZZBVZEMq_8TTHplTaMXg").unwrap();
        assert_eq!(
            (voters[0].node_id, voters[0].host.as_str(), voters[0].port),
            (0, "a", 1)
        );
        assert_eq!(
            (voters[1].node_id, voters[1].host.as_str(), voters[1].port),
            (2, "::1", 9093)
        );
        assert_eq!(voters[1].directory_id.to_string(), "iAZZBVZEMq_8TTHplTaMXg");
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert_eq!(
            parse("1@localhost:29793").unwrap_err(),
            "No colon following port could be found."
        );
        assert_eq!(
            parse("1@localhost:29793:AAAA").unwrap_err(),
            "Failed to parse directory ID in dynamic voter string."
        );
        assert!(parse("1@a:1:QjOZC9FKQ1mLi7MhU1vPuQ,1@a:1:QjOZC9FKQ1mLi7MhU1vPuQ").is_err());
        assert!(parse("").is_err());
    }
}
