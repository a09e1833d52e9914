//! `ottla delegation-tokens`: tokens made, renewed, expired and described.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use ottla_client::Admin;
use ottla_client::core::admin::tokens::{DelegationToken, Principal};

use crate::date_time::DateTime;
use crate::options::{CommandLine, Options, flag, long, text};
use crate::table;
use crate::tool::{
    self, BOOTSTRAP_SERVER, COMMAND_CONFIG, Failure, HELP, Out, Tool, VERSION, require,
};

pub(crate) const TOOL: Tool = Tool {
    name: "delegation-tokens",
    line: &LINE,
    run,
};

const LINE: CommandLine = CommandLine {
    about: "Makes, renews, expires and describes delegation tokens.",
    commands: &[],
    options: &[
        BOOTSTRAP_SERVER,
        COMMAND_CONFIG,
        flag(&["create"], "Makes a token."),
        flag(&["describe"], "Shows tokens."),
        flag(&["expire"], "Lets a token expire."),
        long(
            &["expiry-time-period"],
            "ms",
            "With --expire: after so long; at once if -1.",
        ),
        HELP,
        text(&["hmac"], "text", "The token's secret."),
        long(
            &["max-life-time-period"],
            "ms",
            "With --create: how long it can be renewed; -1 is the cluster's setting.",
        ),
        text(
            &["owner-principal"],
            "type:name",
            "With --create, for whom; with --describe, whose; may be repeated.",
        ),
        flag(&["renew"], "Makes a token valid for longer."),
        long(
            &["renew-time-period"],
            "ms",
            "With --renew: for so long; -1 is the cluster's setting.",
        ),
        text(
            &["renewer-principal"],
            "type:name",
            "With --create: who else may renew it; may be repeated.",
        ),
        VERSION,
    ],
};

const ACTIONS: [&str; 4] = ["create", "renew", "expire", "describe"];

fn run(options: &Options, out: &mut Out) -> Result<(), Failure> {
    let [action] = options.given_of(&ACTIONS)[..] else {
        return Err(Failure::Usage(
            "Command must include exactly one action: --create, --renew, --expire or --describe"
                .into(),
        ));
    };
    require(options, &["bootstrap-server", "command-config"])?;
    match action {
        "create" => require(options, &["max-life-time-period"])?,
        "renew" => require(options, &["hmac", "renew-time-period"])?,
        "expire" => require(options, &["hmac", "expiry-time-period"])?,
        _ => {}
    }
    tool::block_on(async {
        let admin = tool::admin(options)?;
        match action {
            "create" => create(&admin, options, out).await,
            "renew" => renew(&admin, options, out).await,
            "expire" => expire(&admin, options, out).await,
            _ => describe(&admin, options, out).await,
        }
    })
}

fn principals(options: &Options, name: &str) -> Result<Vec<Principal>, Failure> {
    let texts = options.values(name).iter();
    let parsed = texts.map(|text| {
        Principal::parse(text).ok_or_else(|| {
            Failure::Message(format!(
                "--{name}: expected a string in format principalType:principalName but got {text}"
            ))
        })
    });
    parsed.collect()
}

fn hmac(options: &Options) -> Result<Bytes, Failure> {
    let text = options.value("hmac")?.unwrap_or_default();
    let decoded = STANDARD.decode(text);
    let decoded = decoded.map_err(|error| Failure::Message(format!("--hmac: {error}")))?;
    Ok(decoded.into())
}

/// `2026-12-01T04:30`
fn minute(epoch_ms: i64) -> String {
    let moment = DateTime::from_epoch_ms(epoch_ms);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}",
        moment.year, moment.month, moment.day, moment.hour, moment.minute
    )
}

fn listed(principals: &[Principal]) -> String {
    let names: Vec<String> = principals.iter().map(Principal::to_string).collect();
    names.join(", ")
}

fn write(tokens: &[DelegationToken], out: &mut Out) -> Result<(), Failure> {
    let columns = [
        ("TOKENID", 15),
        ("HMAC", 30),
        ("OWNER", 15),
        ("REQUESTER", 15),
        ("RENEWERS", 25),
        ("ISSUEDATE", 15),
        ("EXPIRYDATE", 15),
        ("MAXDATE", 15),
    ];
    let rows = tokens.iter().map(|token| {
        vec![
            token.token_id.to_string(),
            STANDARD.encode(&token.hmac),
            token.owner.to_string(),
            token.requester.to_string(),
            format!("[{}]", listed(&token.renewers)),
            minute(token.issue_timestamp),
            minute(token.expiry_timestamp),
            minute(token.max_timestamp),
        ]
    });
    // Each line is as wide as itself alone needs.
    table::write(out, &columns, &[])?;
    for row in rows {
        table::write_row(out, &columns, &row)?;
    }
    Ok(())
}

async fn create(admin: &Admin, options: &Options, out: &mut Out) -> Result<(), Failure> {
    let renewers = principals(options, "renewer-principal")?;
    let owners = principals(options, "owner-principal")?;
    let lifetime_ms = options.number("max-life-time-period")?.unwrap_or(-1);
    writeln!(
        out,
        "Calling create token operation with renewers :[{}] , max-life-time-period :{lifetime_ms}",
        listed(&renewers)
    )?;
    let token = admin
        .create_delegation_token(owners.first(), &renewers, lifetime_ms)
        .await?;
    writeln!(
        out,
        "Created delegation token with tokenId : {}",
        token.token_id
    )?;
    write(&[token], out)
}

async fn renew(admin: &Admin, options: &Options, out: &mut Out) -> Result<(), Failure> {
    let period_ms = options.number("renew-time-period")?.unwrap_or(-1);
    let text = options.value("hmac")?.unwrap_or_default();
    writeln!(
        out,
        "Calling renew token operation with hmac :{text} , renew-time-period :{period_ms}"
    )?;
    let expiry = admin
        .renew_delegation_token(hmac(options)?, period_ms)
        .await?;
    writeln!(
        out,
        "Completed renew operation. New expiry date : {}",
        minute(expiry)
    )?;
    Ok(())
}

async fn expire(admin: &Admin, options: &Options, out: &mut Out) -> Result<(), Failure> {
    let period_ms = options.number("expiry-time-period")?.unwrap_or(-1);
    let text = options.value("hmac")?.unwrap_or_default();
    writeln!(
        out,
        "Calling expire token operation with hmac :{text} , expire-time-period :{period_ms}"
    )?;
    let expiry = admin
        .expire_delegation_token(hmac(options)?, period_ms)
        .await?;
    writeln!(
        out,
        "Completed expire operation. New expiry date : {}",
        minute(expiry)
    )?;
    Ok(())
}

async fn describe(admin: &Admin, options: &Options, out: &mut Out) -> Result<(), Failure> {
    let owners = principals(options, "owner-principal")?;
    match owners.is_empty() {
        true => writeln!(out, "Calling describe token operation for current user.")?,
        false => writeln!(
            out,
            "Calling describe token operation for owners: [{}]",
            listed(&owners)
        )?,
    }
    let asked = (!owners.is_empty()).then_some(owners.as_slice());
    let tokens = admin.describe_delegation_tokens(asked).await?;
    writeln!(out, "Total number of tokens : {}", tokens.len())?;
    write(&tokens, out)
}
