//! Turns the schema files into Rust.
//!
//! Reads `schema/`, writes `messages.rs` and `api_key.rs` into `OUT_DIR`. The notation is explained
//! in `schema/README.md`.

mod api_keys;
mod code;
mod fields;
mod names;
mod schema;
mod structures;

use std::path::Path;
use std::{env, fs, io};

use code::Code;
use schema::Message;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=schema");
    println!("cargo::rerun-if-changed=build");
    let messages = read_schemas(Path::new("schema"))?;
    let out = env::var("OUT_DIR")?;
    let out = Path::new(&out);
    fs::write(out.join("messages.rs"), messages_code(&messages))?;
    fs::write(out.join("api_key.rs"), api_keys::code(&messages))?;
    Ok(())
}

fn read_schemas(folder: &Path) -> Result<Vec<Message>, Box<dyn std::error::Error>> {
    let mut paths = fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<_>>>()?;
    paths.retain(|path| path.extension().is_none());
    paths.sort();
    let mut messages = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path)?;
        let message =
            schema::parse(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        messages.push(message);
    }
    Ok(messages)
}

fn messages_code(messages: &[Message]) -> String {
    let mut code = Code::default();
    for message in messages {
        structures::write_module(&mut code, message);
    }
    for message in messages {
        let module = names::snake(&message.name);
        code.line(format!("pub use {module}::{};", message.name));
    }
    code.doc("Invokes a macro with the type of every message.");
    code.line("#[cfg(any(test, feature = \"testing\"))]");
    code.line("macro_rules! for_each_message {");
    code.line("($visit:ident) => { $visit! {");
    for message in messages {
        code.line(format!("{},", message.name));
    }
    code.line("} };");
    code.line("}");
    code.line("#[cfg(any(test, feature = \"testing\"))]");
    code.line("pub(crate) use for_each_message;");
    code.into_text()
}
