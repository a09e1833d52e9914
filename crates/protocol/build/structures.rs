//! Writes a message's module: its structures, and how they are read and written.

use crate::code::Code;
use crate::fields::{FieldCode, When, flexible, negated};
use crate::names;
use crate::schema::{Field, Kind, Message, Structure, Type, structure_of};

/// Writes the module of a message.
pub(crate) fn write_module(code: &mut Code, message: &Message) {
    code.doc(format!(
        "[`{0}`]({0}) and the structures within it.",
        message.name
    ));
    code.line(format!("pub mod {} {{", names::snake(&message.name)));
    code.line("use super::prelude::*;");
    for (index, structure) in message.structures.iter().enumerate() {
        let fields = field_codes(message, structure);
        if index == 0 {
            code.doc(message_facts(message));
        } else {
            code.doc(format!("A structure within [`{0}`]({0}).", message.name));
        }
        write_definition(code, message, structure, &fields);
        write_default(code, message, structure, &fields);
        write_debug(code, message, structure, &fields);
        code.line(format!("impl Structure for {} {{", structure.name));
        write_read(code, message, &fields);
        write_write(code, message, structure, &fields);
        code.line("}");
        write_random(code, message, structure, &fields);
        if index > 0 && message.kind == Kind::Response {
            write_error_codes(code, message, structure, &fields);
        }
    }
    let own = &message.structures[0];
    write_traits(code, message, &field_codes(message, own));
    code.line("}");
}

fn field_codes<'a>(message: &'a Message, structure: &'a Structure) -> Vec<FieldCode<'a>> {
    structure
        .fields
        .iter()
        .map(|field| FieldCode {
            message,
            structure: &structure.name,
            field,
        })
        .collect()
}

fn message_facts(message: &Message) -> String {
    let kind = match message.kind {
        Kind::Request => "A request",
        Kind::Response => "A response",
        Kind::Header => "A header",
        Kind::Metadata => "A record",
        Kind::CoordinatorKey => "The key of a coordinator's record",
        Kind::CoordinatorValue => "The value of a coordinator's record",
        Kind::Data => "Data",
    };
    let mut facts = kind.to_owned();
    if let Some(key) = message.api_key {
        let of = match message.kind {
            Kind::Request | Kind::Response => "API key",
            _ => "type",
        };
        facts += &format!(", {of} {key}");
    }
    facts += &format!(", versions {}", message.versions);
    if message.latest_unstable {
        facts += " of which the last is unstable";
    }
    if let Some(first) = message.flexible {
        facts += &format!(", flexible from {first}");
    }
    facts + "."
}

fn is_ever_flexible(message: &Message) -> bool {
    flexible(message) != When::Never
}

fn write_definition(
    code: &mut Code,
    message: &Message,
    structure: &Structure,
    fields: &[FieldCode<'_>],
) {
    let mut derives = "Clone, PartialEq".to_owned();
    if fields.iter().all(FieldCode::default_is_rusts) {
        derives += ", Default";
    }
    if !fields.iter().any(|field| field.field.secret) {
        derives += ", Debug";
    }
    code.line(format!("#[derive({derives})]"));
    code.line(format!("pub struct {} {{", structure.name));
    for field in fields {
        code.doc(field.facts());
        code.line(format!("pub {}: {},", field.name(), field.rust_type()));
    }
    if is_ever_flexible(message) {
        code.doc("Tagged fields that this release does not know, in the order of their tags.");
        code.line("pub unknown_tagged_fields: Vec<RawTaggedField>,");
    }
    code.line("}");
}

fn write_default(
    code: &mut Code,
    message: &Message,
    structure: &Structure,
    fields: &[FieldCode<'_>],
) {
    if fields.iter().all(FieldCode::default_is_rusts) {
        return;
    }
    code.line(format!("impl Default for {} {{", structure.name));
    code.line("fn default() -> Self {");
    code.line("Self {");
    for field in fields {
        code.line(format!("{}: {},", field.name(), field.default()));
    }
    if is_ever_flexible(message) {
        code.line("unknown_tagged_fields: Vec::new(),");
    }
    code.line("}");
    code.line("}");
    code.line("}");
}

fn write_debug(
    code: &mut Code,
    message: &Message,
    structure: &Structure,
    fields: &[FieldCode<'_>],
) {
    if !fields.iter().any(|field| field.field.secret) {
        return;
    }
    code.line(format!("impl fmt::Debug for {} {{", structure.name));
    code.line("fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {");
    code.line(format!("f.debug_struct(\"{}\")", structure.name));
    for field in fields {
        let name = field.name();
        let value = if field.field.secret {
            "Hidden".to_owned()
        } else {
            format!("self.{name}")
        };
        code.line(format!(".field(\"{name}\", &{value})"));
    }
    if is_ever_flexible(message) {
        code.line(".field(\"unknown_tagged_fields\", &self.unknown_tagged_fields)");
    }
    code.line(".finish()");
    code.line("}");
    code.line("}");
}

/// Opens a block for a condition; none where it always holds.
fn open(code: &mut Code, when: &When) {
    if let When::If(condition) = when {
        code.line(format!("if {condition} {{"));
    }
}

fn close(code: &mut Code, when: &When) {
    if let When::If(_) = when {
        code.line("}");
    }
}

fn let_flexible(code: &mut Code, message: &Message) {
    if let When::If(condition) = flexible(message) {
        code.line(format!("let flexible = {condition};"));
    }
}

fn flexible_block(message: &Message) -> When {
    match flexible(message) {
        When::If(_) => When::If("flexible".to_owned()),
        when => when,
    }
}

fn write_read(code: &mut Code, message: &Message, fields: &[FieldCode<'_>]) {
    code.line("fn read(reader: &mut Reader, version: i16) -> Result<Self, DecodeError> {");
    let_flexible(code, message);
    code.line("let mut value = Self::default();");
    for field in fields.iter().filter(|field| field.field.tag.is_none()) {
        let when = field.present();
        if when == When::Never {
            continue;
        }
        open(code, &when);
        code.line(format!("value.{} = {};", field.name(), field.read()));
        close(code, &when);
    }
    let when = flexible_block(message);
    if when != When::Never {
        open(code, &when);
        write_read_tags(code, fields);
        close(code, &when);
    }
    code.line("Ok(value)");
    code.line("}");
}

fn write_read_tags(code: &mut Code, fields: &[FieldCode<'_>]) {
    let tagged = tagged_fields(fields);
    if tagged.is_empty() {
        code.line("value.unknown_tagged_fields = reader.read_unknown_tagged_fields()?;");
        return;
    }
    code.line("value.unknown_tagged_fields = reader.read_tagged_fields(&mut |reader, tag| {");
    code.line("match tag {");
    for (tag, field) in tagged {
        let guard = match field.present() {
            When::Always => String::new(),
            when => format!(" if {}", when.expression()),
        };
        code.line(format!(
            "{tag}{guard} => value.{} = {},",
            field.name(),
            field.read()
        ));
        if !guard.is_empty() {
            let structure = format!("\"{}\"", field.structure);
            code.line(format!(
                "{tag} => return Err(invalid_tag({structure}, tag, version)),"
            ));
        }
    }
    code.line("_ => return Ok(false),");
    code.line("}");
    code.line("Ok(true)");
    code.line("})?;");
}

fn tagged_fields<'a>(fields: &'a [FieldCode<'a>]) -> Vec<(u32, &'a FieldCode<'a>)> {
    let mut tagged: Vec<_> = fields
        .iter()
        .filter_map(|field| Some((field.field.tag?.0, field)))
        .collect();
    tagged.sort_by_key(|(tag, _)| *tag);
    tagged
}

fn write_write(
    code: &mut Code,
    message: &Message,
    structure: &Structure,
    fields: &[FieldCode<'_>],
) {
    code.line("fn write(&self, writer: &mut Writer, version: i16) -> Result<(), EncodeError> {");
    let_flexible(code, message);
    for field in fields.iter().filter(|field| field.field.tag.is_none()) {
        write_write_field(code, field);
    }
    let tagged = tagged_fields(fields);
    for (_, field) in &tagged {
        write_refuse_absent(code, field);
    }
    let when = flexible_block(message);
    if when != When::Never {
        open(code, &when);
        write_write_tags(code, &tagged);
        if matches!(when, When::If(_)) {
            code.line("} else if !self.unknown_tagged_fields.is_empty() {");
            let name = &structure.name;
            code.line(format!(
                "return Err(tags_not_in_version(\"{name}\", version));"
            ));
        }
        close(code, &when);
    }
    code.line("Ok(())");
    code.line("}");
}

fn write_write_field(code: &mut Code, field: &FieldCode<'_>) {
    let when = field.present();
    match &when {
        When::Always => code.line(field.write()),
        When::Never => write_refuse_absent(code, field),
        When::If(condition) => {
            code.line(format!("if {condition} {{"));
            code.line(field.write());
            if !field.field.ignorable {
                code.line(format!("}} else if {} {{", field.differs()));
                code.line(field.refuse());
            }
            code.line("}");
        }
    }
}

fn write_refuse_absent(code: &mut Code, field: &FieldCode<'_>) {
    let when = field.present();
    if when == When::Always || field.field.ignorable {
        return;
    }
    let absent = match &when {
        When::If(condition) => format!("{} && ", negated(condition)),
        _ => String::new(),
    };
    code.line(format!("if {absent}{} {{", field.differs()));
    code.line(field.refuse());
    code.line("}");
}

fn write_write_tags(code: &mut Code, tagged: &[(u32, &FieldCode<'_>)]) {
    if tagged.is_empty() {
        code.line("writer.write_unknown_tagged_fields(&self.unknown_tagged_fields)?;");
        return;
    }
    code.line("let mut unknown = &self.unknown_tagged_fields[..];");
    let mut count = "unknown.len()".to_owned();
    for (tag, field) in tagged {
        let differs = field.differs();
        let present = match field.present() {
            When::Always => differs,
            when => format!("{} && ({differs})", when.expression()),
        };
        code.line(format!("let tag_{tag} = {present};"));
        count += &format!(" + usize::from(tag_{tag})");
    }
    code.line(format!("writer.write_tagged_field_count({count})?;"));
    for (tag, field) in tagged {
        code.line(format!("if tag_{tag} {{"));
        code.line(format!(
            "writer.write_raw_tagged_fields(&mut unknown, Some({tag}))?;"
        ));
        code.line(format!("writer.write_tagged_field({tag}, &mut |writer| {{"));
        code.line(field.write());
        code.line("Ok(())");
        code.line("})?;");
        code.line("}");
    }
    code.line("writer.write_raw_tagged_fields(&mut unknown, None)?;");
}

fn write_random(
    code: &mut Code,
    message: &Message,
    structure: &Structure,
    fields: &[FieldCode<'_>],
) {
    code.line("#[cfg(any(test, feature = \"testing\"))]");
    code.line(format!("impl RandomStructure for {} {{", structure.name));
    code.line("fn random(random: &mut Random, version: i16) -> Self {");
    code.line("let mut value = Self::default();");
    for field in fields {
        let when = field.present();
        if when == When::Never {
            continue;
        }
        open(code, &when);
        code.line(format!("value.{} = {};", field.name(), field.random()));
        close(code, &when);
    }
    let when = flexible(message);
    if when != When::Never {
        open(code, &when);
        code.line("value.unknown_tagged_fields = random.unknown_tagged_fields();");
        close(code, &when);
    }
    code.line("value");
    code.line("}");
    code.line("}");
}

/// Whether the structure, or one within it, has an error code.
fn has_error_codes(message: &Message, name: &str) -> bool {
    let structure = message
        .structures
        .iter()
        .find(|structure| structure.name == name);
    structure.is_some_and(|structure| {
        structure.fields.iter().any(|field| {
            is_error_code(field)
                || structure_of(&field.kind).is_some_and(|within| has_error_codes(message, within))
        })
    })
}

fn is_error_code(field: &Field) -> bool {
    field.name == "ErrorCode" && field.kind == Type::Number("int16".to_owned())
}

fn write_error_codes(
    code: &mut Code,
    message: &Message,
    structure: &Structure,
    fields: &[FieldCode<'_>],
) {
    if !has_error_codes(message, &structure.name) {
        return;
    }
    code.line(format!("impl {} {{", structure.name));
    write_visit(code, message, fields);
    code.line("}");
}

fn write_visit(code: &mut Code, message: &Message, fields: &[FieldCode<'_>]) {
    code.line("fn visit_error_codes(&self, visit: &mut dyn FnMut(i16)) {");
    for field in fields {
        let name = field.name();
        if is_error_code(field.field) {
            code.line(format!("visit(self.{name});"));
        }
        let within = structure_of(&field.field.kind);
        if !within.is_some_and(|within| has_error_codes(message, within)) {
            continue;
        }
        let is_array = matches!(field.field.kind, Type::Array(_));
        let each = match (is_array, field.is_nullable()) {
            (true, true) => format!("for within in self.{name}.iter().flatten() {{"),
            (true, false) => format!("for within in &self.{name} {{"),
            (false, true) => format!("if let Some(within) = &self.{name} {{"),
            (false, false) => {
                code.line(format!("self.{name}.visit_error_codes(visit);"));
                continue;
            }
        };
        code.line(each);
        code.line("within.visit_error_codes(visit);");
        code.line("}");
    }
    code.line("}");
}

fn write_traits(code: &mut Code, message: &Message, fields: &[FieldCode<'_>]) {
    let name = &message.name;
    let first = message.versions.first;
    let last = message.versions.last.unwrap_or(first);
    code.line(format!("impl Message for {name} {{"));
    code.line(format!("const NAME: &'static str = \"{name}\";"));
    code.line(format!(
        "const VALID_VERSIONS: VersionRange = VersionRange {{ min: {first}, max: {last} }};"
    ));
    code.line(format!(
        "const FLEXIBLE_FROM: Option<i16> = {:?};",
        message.flexible
    ));
    code.line("}");
    let Some(key) = message.api_key else { return };
    match message.kind {
        Kind::Request => {
            let api = name.trim_end_matches("Request");
            code.line(format!("impl Request for {name} {{"));
            code.line(format!("const API_KEY: ApiKey = ApiKey::{api};"));
            code.line(format!("type Response = super::{api}Response;"));
            code.line("}");
        }
        Kind::Response => {
            let api = name.trim_end_matches("Response");
            code.line(format!("impl Response for {name} {{"));
            code.line(format!("const API_KEY: ApiKey = ApiKey::{api};"));
            if has_error_codes(message, name) {
                write_visit(code, message, fields);
            }
            code.line("}");
        }
        _ => {
            code.line(format!("impl Record for {name} {{"));
            code.line(format!("const RECORD_TYPE: i16 = {key};"));
            code.line("}");
        }
    }
}
