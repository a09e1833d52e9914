//! Reads the notation of the schema files.

use std::fmt;

/// A schema file.
pub(crate) struct Message {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    pub(crate) api_key: Option<i16>,
    pub(crate) listeners: Vec<String>,
    pub(crate) versions: Versions,
    pub(crate) latest_unstable: bool,
    pub(crate) flexible: Option<i16>,
    /// The message's own structure first, then those within it.
    pub(crate) structures: Vec<Structure>,
}

/// What a message is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Request,
    Response,
    Header,
    Metadata,
    CoordinatorKey,
    CoordinatorValue,
    Data,
}

/// A list of fields with a name.
pub(crate) struct Structure {
    pub(crate) name: String,
    pub(crate) fields: Vec<Field>,
}

/// One line of a schema file.
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) kind: Type,
    pub(crate) versions: Versions,
    pub(crate) nullable: Option<Versions>,
    pub(crate) default: Option<String>,
    pub(crate) tag: Option<(u32, Versions)>,
    pub(crate) never_flexible: bool,
    pub(crate) entity: Option<String>,
    pub(crate) ignorable: bool,
    pub(crate) secret: bool,
}

/// The type of a field.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Type {
    Bool,
    /// A number: Kafka's word for it.
    Number(String),
    Uuid,
    String,
    Bytes,
    Records,
    Structure(String),
    Array(Box<Type>),
}

/// Versions from the first to the last; to every later one where there is no last.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Versions {
    pub(crate) first: i16,
    pub(crate) last: Option<i16>,
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.last {
            None => write!(f, "{}+", self.first),
            Some(last) if last == self.first => write!(f, "{last}"),
            Some(last) => write!(f, "{}-{last}", self.first),
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Bool => f.write_str("bool"),
            Type::Number(name) | Type::Structure(name) => f.write_str(name),
            Type::Uuid => f.write_str("uuid"),
            Type::String => f.write_str("string"),
            Type::Bytes => f.write_str("bytes"),
            Type::Records => f.write_str("records"),
            Type::Array(element) => write!(f, "array of {element}"),
        }
    }
}

type Result<T> = std::result::Result<T, String>;

/// Reads a schema file.
pub(crate) fn parse(text: &str) -> Result<Message> {
    let mut message = None;
    let mut structures: Vec<Structure> = Vec::new();
    // The structures whose fields may follow, by depth.
    let mut open: Vec<usize> = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let depth = (line.len() - line.trim_start().len()) / 2;
        if depth == 0 {
            let structure =
                head_line(&mut message, &words).map_err(|e| format!("'{line}': {e}"))?;
            if let Some(name) = structure {
                open = vec![structures.len()];
                structures.push(Structure {
                    name,
                    fields: Vec::new(),
                });
            }
            continue;
        }
        open.truncate(depth);
        let parent = *open
            .last()
            .ok_or_else(|| format!("'{line}' stands in no structure"))?;
        if open.len() < depth {
            // The field above is of a structure that is told here.
            let above = structures[parent].fields.last().ok_or("indented too far")?;
            let name = structure_of(&above.kind)
                .ok_or("indented below a primitive")?
                .to_owned();
            open.push(structures.len());
            structures.push(Structure {
                name,
                fields: Vec::new(),
            });
        }
        let parent = open[depth - 1];
        let field = field_line(&words).map_err(|error| format!("'{line}': {error}"))?;
        structures[parent].fields.push(field);
    }
    let mut message: Message = message.ok_or("no message")?;
    message.structures = structures;
    Ok(message)
}

/// Reads a line at the margin; answers the structure whose fields follow it.
fn head_line(message: &mut Option<Message>, words: &[&str]) -> Result<Option<String>> {
    let Some(message) = message else {
        *message = Some(first_line(words)?);
        return Ok(None);
    };
    match words {
        ["api-key", key] => message.api_key = Some(number(key)?),
        ["listeners", listeners @ ..] => {
            message.listeners = listeners.iter().map(ToString::to_string).collect();
        }
        ["versions", valid, rest @ ..] => {
            message.versions = versions(valid)?;
            message.latest_unstable = rest == ["latest-unstable"];
        }
        ["flexible", "none"] => message.flexible = None,
        ["flexible", from] => message.flexible = Some(versions(from)?.first),
        ["fields"] => return Ok(Some(message.name.clone())),
        ["struct", name, _] => return Ok(Some((*name).to_owned())),
        _ => return Err("unknown line".to_owned()),
    }
    Ok(None)
}

fn first_line(words: &[&str]) -> Result<Message> {
    let [kind, name] = words else {
        return Err("kind and name expected".to_owned());
    };
    let kind = match *kind {
        "request" => Kind::Request,
        "response" => Kind::Response,
        "header" => Kind::Header,
        "metadata" => Kind::Metadata,
        "coordinator-key" => Kind::CoordinatorKey,
        "coordinator-value" => Kind::CoordinatorValue,
        "data" => Kind::Data,
        _ => return Err("unknown kind".to_owned()),
    };
    Ok(Message {
        kind,
        name: (*name).to_owned(),
        api_key: None,
        listeners: Vec::new(),
        versions: Versions {
            first: 0,
            last: None,
        },
        latest_unstable: false,
        flexible: None,
        structures: Vec::new(),
    })
}

fn field_line(words: &[&str]) -> Result<Field> {
    let [name, kind, valid, rest @ ..] = words else {
        return Err("name, type and versions expected".to_owned());
    };
    let mut field = Field {
        name: (*name).to_owned(),
        kind: field_type(kind),
        versions: versions(valid)?,
        nullable: None,
        default: None,
        tag: None,
        never_flexible: false,
        entity: None,
        ignorable: false,
        secret: false,
    };
    for fact in rest {
        match fact.split_once('=').unwrap_or((fact, "")) {
            ("nullable", value) => field.nullable = Some(versions(value)?),
            ("default", value) => field.default = Some(value.to_owned()),
            ("tag", value) => {
                let (tag, valid) = value.split_once(':').ok_or("tag without versions")?;
                field.tag = Some((number(tag)?, versions(valid)?));
            }
            ("flexible", "none") => field.never_flexible = true,
            ("entity", value) => field.entity = Some(value.to_owned()),
            ("ignorable", "") => field.ignorable = true,
            ("secret", "") => field.secret = true,
            // What Java builds of it is of no concern to the wire.
            ("key" | "zero-copy", "") => {}
            _ => return Err(format!("unknown fact {fact}")),
        }
    }
    Ok(field)
}

fn field_type(word: &str) -> Type {
    if let Some(element) = word.strip_prefix("[]") {
        return Type::Array(Box::new(field_type(element)));
    }
    match word {
        "bool" => Type::Bool,
        "int8" | "int16" | "uint16" | "int32" | "uint32" | "int64" | "float64" => {
            Type::Number(word.to_owned())
        }
        "uuid" => Type::Uuid,
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "records" => Type::Records,
        name => Type::Structure(name.to_owned()),
    }
}

/// The structure that a field holds, or an array of.
pub(crate) fn structure_of(kind: &Type) -> Option<&str> {
    match kind {
        Type::Structure(name) => Some(name),
        Type::Array(element) => structure_of(element),
        _ => None,
    }
}

fn versions(word: &str) -> Result<Versions> {
    if let Some(first) = word.strip_suffix('+') {
        return Ok(Versions {
            first: number(first)?,
            last: None,
        });
    }
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    Ok(Versions {
        first: number(first)?,
        last: Some(number(last)?),
    })
}

fn number<T: std::str::FromStr>(word: &str) -> Result<T> {
    word.parse().map_err(|_| format!("'{word}' is no number"))
}
