//! Writes the table of API keys.

use crate::code::Code;
use crate::schema::{Kind, Message};

/// The enumeration `ApiKey` and its facts.
pub(crate) fn code(messages: &[Message]) -> String {
    let mut requests: Vec<(i16, &str, &Message)> = messages
        .iter()
        .filter(|message| message.kind == Kind::Request)
        .filter_map(|message| {
            Some((
                message.api_key?,
                message.name.strip_suffix("Request")?,
                message,
            ))
        })
        .collect();
    requests.sort_by_key(|(key, ..)| *key);
    let mut code = Code::default();
    code.doc("What a request asks for: one of the APIs of Kafka's protocol.");
    code.doc("");
    code.doc("Keys 4 to 7 belonged to APIs that Kafka 4.0 removed, and are unknown here.");
    code.line("#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]");
    code.line("#[repr(i16)]");
    code.line("pub enum ApiKey {");
    for (key, name, message) in &requests {
        let listeners = message.listeners.join(" and ");
        code.doc(format!(
            "Key {key}, versions {}, on {listeners} listeners.",
            message.versions
        ));
        code.line(format!("{name} = {key},"));
    }
    code.line("}");
    code.line("impl ApiKey {");
    code.doc("Every API key, in ascending order.");
    code.line("pub const ALL: &'static [Self] = &[");
    for (_, name, _) in &requests {
        code.line(format!("Self::{name},"));
    }
    code.line("];");
    code.line("#[expect(clippy::too_many_lines, reason = \"one line for each API\")]");
    code.line("const fn facts(self) -> &'static Facts {");
    code.line("match self {");
    for (_, name, message) in &requests {
        code.line(format!("Self::{name} => &{},", facts(name, message)));
    }
    code.line("}");
    code.line("}");
    code.line("}");
    code.into_text()
}

fn facts(name: &str, message: &Message) -> String {
    let on = |listener: &str| message.listeners.iter().any(|l| l == listener);
    let first = message.versions.first;
    let last = message.versions.last.unwrap_or(first);
    format!(
        "Facts {{ name: \"{name}\", min: {first}, max: {last}, latest_unstable: {}, \
         flexible_from: {:?}, on_broker: {}, on_controller: {} }}",
        message.latest_unstable,
        message.flexible,
        on("broker"),
        on("controller"),
    )
}
