//! What each field is in Rust: its type, default, and the expressions that read and write it.

use crate::names;
use crate::schema::{Field, Message, Type, Versions};

/// When something holds, among the versions that a message has.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum When {
    Always,
    Never,
    /// An expression over `version`.
    If(String),
}

/// The expression that is true where `condition`, one of [`When::within`], is not.
pub(crate) fn negated(condition: &str) -> String {
    if condition.starts_with('(') {
        format!("!{condition}")
    } else if condition.contains(">=") {
        condition.replace(">=", "<")
    } else {
        condition.replace("<=", ">")
    }
}

impl When {
    /// Whether the message's version lies within `versions`.
    pub(crate) fn within(versions: Versions, message: &Message) -> Self {
        let valid = message.versions;
        let last_valid = valid.last.unwrap_or(valid.first);
        let last = versions.last.unwrap_or(i16::MAX);
        if versions.first > last_valid || last < valid.first {
            return Self::Never;
        }
        match (versions.first <= valid.first, last >= last_valid) {
            (true, true) => Self::Always,
            (false, true) => Self::If(format!("version >= {}", versions.first)),
            (true, false) => Self::If(format!("version <= {last}")),
            (false, false) => Self::If(format!("({}..={last}).contains(&version)", versions.first)),
        }
    }

    /// The condition as an expression.
    pub(crate) fn expression(&self) -> &str {
        match self {
            Self::Always => "true",
            Self::Never => "false",
            Self::If(condition) => condition,
        }
    }
}

/// The expression that tells whether the message's version is flexible.
pub(crate) fn flexible(message: &Message) -> When {
    match message.flexible {
        None => When::Never,
        Some(first) => When::within(Versions { first, last: None }, message),
    }
}

/// A field with what the generator asks about it.
pub(crate) struct FieldCode<'a> {
    pub(crate) message: &'a Message,
    /// The name of its structure.
    pub(crate) structure: &'a str,
    pub(crate) field: &'a Field,
}

impl FieldCode<'_> {
    /// The field's name in Rust.
    pub(crate) fn name(&self) -> String {
        names::field(&self.field.name)
    }

    /// The field's name in an error.
    fn path(&self) -> String {
        format!("\"{}.{}\"", self.structure, self.field.name)
    }

    /// When the field is there.
    pub(crate) fn present(&self) -> When {
        When::within(self.field.versions, self.message)
    }

    pub(crate) fn is_nullable(&self) -> bool {
        self.field.nullable.is_some()
    }

    /// When the field may be null, given that it is there.
    fn null_allowed(&self) -> When {
        let Some(nullable) = self.field.nullable else {
            return When::Never;
        };
        let present = self.field.versions;
        let after = nullable.first <= present.first;
        let before = nullable.last.unwrap_or(i16::MAX) >= present.last.unwrap_or(i16::MAX);
        if after && before {
            When::Always
        } else {
            When::within(nullable, self.message)
        }
    }

    fn flexible(&self) -> &'static str {
        match flexible(self.message) {
            _ if self.field.never_flexible => "false",
            When::Always => "true",
            When::Never => "false",
            When::If(_) => "flexible",
        }
    }

    /// The field's type in Rust.
    pub(crate) fn rust_type(&self) -> String {
        let kind = rust_type(&self.field.kind);
        if self.is_nullable() {
            format!("Option<{kind}>")
        } else {
            kind
        }
    }

    fn default_is_null(&self) -> bool {
        let records = self.field.kind == Type::Records;
        self.is_nullable() && (records || self.field.default.as_deref() == Some("null"))
    }

    /// Whether Rust's own default of the type is Kafka's default of the field.
    pub(crate) fn default_is_rusts(&self) -> bool {
        match self.is_nullable() {
            true => self.default_is_null(),
            false => self.field.default.is_none(),
        }
    }

    /// The field's default.
    pub(crate) fn default(&self) -> String {
        if self.default_is_null() {
            return "None".to_owned();
        }
        let value = match (&self.field.kind, self.field.default.as_deref()) {
            (Type::String, Some(text)) => format!("KafkaString::from_static(\"{text}\")"),
            (_, Some(text)) => text.to_owned(),
            (_, None) => "Default::default()".to_owned(),
        };
        if self.is_nullable() {
            format!("Some({value})")
        } else {
            value
        }
    }

    /// An expression that is true where the field differs from its default.
    pub(crate) fn differs(&self) -> String {
        let name = format!("self.{}", self.name());
        if self.default_is_null() {
            return format!("{name}.is_some()");
        }
        match (&self.field.kind, self.field.default.as_deref()) {
            (Type::Bool, None) => name,
            (Type::Bool, Some(_)) => format!("!{name}"),
            (Type::Number(kind), default) => {
                let zero = if kind == "float64" { "0.0" } else { "0" };
                format!("{name} != {}", default.unwrap_or(zero))
            }
            (Type::Uuid, _) => format!("!{name}.is_zero()"),
            (Type::Structure(kind), _) if self.is_nullable() => {
                format!("{name} != Some({kind}::default())")
            }
            (Type::Structure(kind), _) => format!("{name} != {kind}::default()"),
            (Type::String, Some(text)) => format!("{name} != \"{text}\""),
            _ if self.is_nullable() => format!("{name}.as_ref().is_none_or(|v| !v.is_empty())"),
            _ => format!("!{name}.is_empty()"),
        }
    }

    /// The expression that takes the field from `reader`.
    pub(crate) fn read(&self) -> String {
        let flexible = self.flexible();
        let allowed = self.null_allowed();
        let optional = match &self.field.kind {
            Type::Bool | Type::Number(_) | Type::Uuid => {
                return format!("{}?", read_primitive(&self.field.kind, "reader"));
            }
            // As a tagged field, it has the same marker in another encoding.
            Type::Structure(_) if self.field.tag.is_some() && allowed == When::Always => {
                return "reader.read_nullable_tagged_structure(version)?".to_owned();
            }
            Type::Structure(kind) => return read_structure(kind, &allowed),
            Type::String => format!("reader.read_string({flexible})?"),
            Type::Bytes | Type::Records => format!("reader.read_bytes({flexible})?"),
            Type::Array(element) => self.read_array(element),
        };
        match allowed {
            When::Always => optional,
            _ if !self.is_nullable() => format!("required({optional}, {})?", self.path()),
            When::Never => format!("Some(required({optional}, {})?)", self.path()),
            When::If(when) => format!("required_unless({optional}, {when}, {})?", self.path()),
        }
    }

    fn read_array(&self, element: &Type) -> String {
        let flexible = self.flexible();
        let required = |read: &str| {
            let path = self.path();
            format!("reader.read_array({flexible}, |r| required(r.{read}({flexible})?, {path}))?")
        };
        match element {
            Type::Structure(_) => format!("reader.read_structures({flexible}, version)?"),
            Type::String => required("read_string"),
            Type::Bytes | Type::Records => required("read_bytes"),
            _ => format!(
                "reader.read_array({flexible}, {})?",
                read_primitive(element, "Reader")
            ),
        }
    }

    /// The statement that puts the field into `writer`.
    pub(crate) fn write(&self) -> String {
        let flexible = self.flexible();
        let name = format!("self.{}", self.name());
        let nullable = self.is_nullable();
        let (some, deref) = match nullable {
            true => (format!("{name}.as_deref()"), "".to_owned()),
            false => (format!("Some(&{name})"), format!("&{name}")),
        };
        let write = match &self.field.kind {
            Type::Bool | Type::Number(_) | Type::Uuid => {
                return format!("writer.write_{}({name});", primitive(&self.field.kind));
            }
            Type::Structure(_) if nullable => return self.write_nullable_structure(),
            Type::Structure(_) => return format!("{name}.write(writer, version)?;"),
            Type::String => format!("writer.write_string({flexible}, {some})?;"),
            Type::Bytes | Type::Records => format!("writer.write_bytes({flexible}, {some})?;"),
            Type::Array(element) => {
                let some = if nullable {
                    some
                } else {
                    format!("Some({deref})")
                };
                write_array(element, flexible, &some)
            }
        };
        format!("{}{write}", self.null_check())
    }

    /// The statement that refuses null where the version does not allow it.
    fn null_check(&self) -> String {
        let allowed = self.null_allowed();
        if !self.is_nullable() || allowed == When::Always {
            return String::new();
        }
        let (name, when, path) = (self.name(), allowed.expression(), self.path());
        format!("allow_null(self.{name}.is_none(), {when}, {path}, version)?; ")
    }

    fn write_nullable_structure(&self) -> String {
        let name = self.name();
        let tagged = if self.field.tag.is_some() {
            "_tagged"
        } else {
            ""
        };
        let nullable =
            format!("writer.write_nullable{tagged}_structure(self.{name}.as_ref(), version)?;");
        let allowed = self.null_allowed();
        if allowed == When::Always {
            return nullable;
        }
        let check = self.null_check();
        let plain = format!(
            "{check}if let Some(value) = &self.{name} {{ value.write(writer, version)?; }}"
        );
        format!(
            "if {} {{ {nullable} }} else {{ {plain} }}",
            allowed.expression()
        )
    }

    /// The statement that refuses a field that the version lacks.
    pub(crate) fn refuse(&self) -> String {
        let path = self.path();
        format!("return Err(EncodeError::FieldNotInVersion {{ field: {path}, version }});")
    }

    /// The expression of a random value.
    pub(crate) fn random(&self) -> String {
        let value = random(&self.field.kind);
        match self.null_allowed() {
            _ if !self.is_nullable() => value,
            When::Never => format!("Some({value})"),
            When::Always => format!("if random.one_in(4) {{ None }} else {{ Some({value}) }}"),
            When::If(when) => {
                format!("if {when} && random.one_in(4) {{ None }} else {{ Some({value}) }}")
            }
        }
    }

    /// The facts of the field as a sentence.
    pub(crate) fn facts(&self) -> String {
        let field = self.field;
        let mut facts = format!("`{}`: {}", field.name, field.kind);
        if self.present() != When::Always {
            facts += &format!(", in versions {}", field.versions);
        }
        if let Some(nullable) = field.nullable {
            facts += &match self.null_allowed() {
                When::Always => ", or null".to_owned(),
                _ => format!(", or null in versions {nullable}"),
            };
        }
        if let Some(default) = &field.default {
            facts += &format!(", by default {default}");
        }
        if let Some(entity) = &field.entity {
            facts += &format!(", names a {}", names::snake(entity).replace('_', " "));
        }
        if let Some((tag, _)) = field.tag {
            facts += &format!(", tag {tag}");
        }
        if field.ignorable {
            facts += ", left out where the version lacks it";
        }
        facts + "."
    }
}

fn rust_type(kind: &Type) -> String {
    match kind {
        Type::Bool => "bool".to_owned(),
        Type::Number(_) => primitive(kind).to_owned(),
        Type::Uuid => "Uuid".to_owned(),
        Type::String => "KafkaString".to_owned(),
        Type::Bytes | Type::Records => "Bytes".to_owned(),
        Type::Structure(name) => name.clone(),
        Type::Array(element) => format!("Vec<{}>", rust_type(element)),
    }
}

/// The word for a primitive in the names of the codec's functions.
fn primitive(kind: &Type) -> &'static str {
    match kind {
        Type::Bool => "bool",
        Type::Uuid => "uuid",
        Type::Number(name) => match name.as_str() {
            "int8" => "i8",
            "int16" => "i16",
            "uint16" => "u16",
            "int32" => "i32",
            "uint32" => "u32",
            "int64" => "i64",
            "float64" => "f64",
            _ => unreachable!("the parser knows the numbers"),
        },
        _ => unreachable!("not a primitive"),
    }
}

fn read_primitive(kind: &Type, on: &str) -> String {
    match on {
        "Reader" => format!("Reader::read_{}", primitive(kind)),
        _ => format!("{on}.read_{}()", primitive(kind)),
    }
}

fn read_structure(kind: &str, null_allowed: &When) -> String {
    let plain = format!("{kind}::read(reader, version)?");
    let nullable = "reader.read_nullable_structure(version)?";
    match null_allowed {
        When::Always => nullable.to_owned(),
        When::Never => plain,
        When::If(when) => format!("if {when} {{ {nullable} }} else {{ Some({plain}) }}"),
    }
}

fn write_array(element: &Type, flexible: &str, array: &str) -> String {
    match element {
        Type::Structure(_) => format!("writer.write_structures({flexible}, {array}, version)?;"),
        Type::String => {
            format!(
                "writer.write_array({flexible}, {array}, |w, e| w.write_string({flexible}, Some(e)))?;"
            )
        }
        Type::Bytes | Type::Records => {
            format!(
                "writer.write_array({flexible}, {array}, |w, e| w.write_bytes({flexible}, Some(e)))?;"
            )
        }
        _ => {
            let primitive = primitive(element);
            format!(
                "writer.write_array({flexible}, {array}, |w, e| {{ w.write_{primitive}(*e); Ok(()) }})?;"
            )
        }
    }
}

fn random(kind: &Type) -> String {
    match kind {
        Type::Bool | Type::Number(_) | Type::Uuid => format!("random.{}()", primitive(kind)),
        Type::String => "random.string()".to_owned(),
        Type::Bytes | Type::Records => "random.bytes()".to_owned(),
        Type::Structure(name) => format!("{name}::random(random, version)"),
        Type::Array(element) => format!("random.array(|random| {})", random(element)),
    }
}
