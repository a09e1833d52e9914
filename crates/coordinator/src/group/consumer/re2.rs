//! RE2J's expressions, read as it reads them and said again for the `regex` crate.
//!
//! The two differ in what they allow within a class, in escapes, octal numbers, names of groups and
//! repetitions that are stacked; and an expression that RE2J refuses must be refused in its words.
//! An expression is matched with names of topics alone, all of whose letters are ASCII: so a class
//! is the set of its ASCII letters, whatever else it has, and how much a repetition takes at first,
//! or what a group captures, makes no difference.

use super::re2_class::{Letters, named_group, perl_group, unicode_group};

/// What RE2J says is wrong with an expression.
pub(super) type Complaint = &'static str;

const INTERNAL: Complaint = "regexp/syntax: internal error";
const CHAR_RANGE: Complaint = "invalid character class range";
const ESCAPE: Complaint = "invalid escape sequence";
const NAMED_CAPTURE: Complaint = "invalid named capture";
const DUPLICATE_CAPTURE: Complaint = "duplicate capture group name";
const PERL_SYNTAX: Complaint = "invalid or unsupported Perl syntax";
const MISSING_BRACKET: Complaint = "missing closing ]";
const MISSING_PAREN: Complaint = "missing closing )";
const MISSING_REPEAT_ARGUMENT: Complaint = "missing argument to repetition operator";
const NESTED_REPEAT: Complaint = "invalid nested repetition operator";
const REPEAT_SIZE: Complaint = "invalid repeat count";
const TRAILING_BACKSLASH: Complaint = "trailing backslash at end of expression";

/// How often something may be repeated.
const REPEAT_MAX: u32 = 1000;

/// The expression in the words of the `regex` crate, for ASCII bytes.
pub(super) fn translate(text: &str) -> Result<String, Complaint> {
    let mut parser = Parser {
        rest: text,
        out: String::with_capacity(text.len() * 2),
        open: Vec::new(),
        folds_case: false,
        has_atom: false,
        after_repeat: false,
        names: Vec::new(),
    };
    while let Some(letter) = parser.peek() {
        parser.element(letter)?;
    }
    if parser.open.is_empty() {
        Ok(parser.out)
    } else {
        Err(MISSING_PAREN)
    }
}

struct Parser<'a> {
    rest: &'a str,
    out: String,
    /// Whether case was folded before each group that is open.
    open: Vec<bool>,
    folds_case: bool,
    /// Whether there is something that a repetition can be of.
    has_atom: bool,
    /// Whether that is a repetition already.
    after_repeat: bool,
    names: Vec<&'a str>,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let letter = self.peek()?;
        self.rest = &self.rest[letter.len_utf8()..];
        Some(letter)
    }

    fn skip(&mut self, prefix: &str) -> bool {
        match self.rest.strip_prefix(prefix) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn element(&mut self, letter: char) -> Result<(), Complaint> {
        match letter {
            '(' if self.rest.starts_with("(?") => self.perl_flags(),
            '(' => {
                self.next();
                self.open_group();
                Ok(())
            }
            '|' => {
                self.next();
                self.out.push('|');
                self.set_atom(false);
                Ok(())
            }
            ')' => self.close_group(),
            '^' | '$' => {
                self.next();
                self.atom(if letter == '^' { r"(?:\A)" } else { r"(?:\z)" });
                Ok(())
            }
            '.' => {
                self.next();
                self.atom(r"[\x00-\x09\x0b-\x7f]");
                Ok(())
            }
            '[' => {
                let letters = self.class()?;
                self.letters(letters);
                Ok(())
            }
            '*' | '+' | '?' => {
                self.next();
                self.repeat(letter.encode_utf8(&mut [0; 4]))
            }
            '{' => self.counted_repeat(),
            '\\' => self.backslash(),
            _ => {
                self.next();
                self.literal(letter);
                Ok(())
            }
        }
    }

    fn set_atom(&mut self, has_atom: bool) {
        self.has_atom = has_atom;
        self.after_repeat = false;
    }

    fn atom(&mut self, atom: &str) {
        self.out.push_str(atom);
        self.set_atom(true);
    }

    fn letters(&mut self, letters: Letters) {
        let class = letters.to_class();
        self.atom(&class);
    }

    fn literal(&mut self, letter: char) {
        let letters = Letters::range(letter, letter, self.folds_case);
        self.letters(letters);
    }

    fn open_group(&mut self) {
        self.open.push(self.folds_case);
        self.out.push_str("(?:");
        self.set_atom(false);
    }

    fn close_group(&mut self) -> Result<(), Complaint> {
        self.next();
        self.folds_case = self.open.pop().ok_or(INTERNAL)?;
        self.out.push(')');
        self.set_atom(true);
        Ok(())
    }

    fn repeat(&mut self, operator: &str) -> Result<(), Complaint> {
        // One that takes as little as it can matches the same whole names.
        self.skip("?");
        if self.after_repeat {
            return Err(NESTED_REPEAT);
        }
        if !self.has_atom {
            return Err(MISSING_REPEAT_ARGUMENT);
        }
        self.out.push_str(operator);
        self.after_repeat = true;
        Ok(())
    }

    fn counted_repeat(&mut self) -> Result<(), Complaint> {
        let Some((least, most, rest)) = counts(self.rest) else {
            self.next();
            self.literal('{');
            return Ok(());
        };
        if least.max(most.unwrap_or(0)) > REPEAT_MAX || most.is_some_and(|most| most < least) {
            return Err(REPEAT_SIZE);
        }
        self.rest = rest;
        let operator = match most {
            None => format!("{{{least},}}"),
            Some(most) => format!("{{{least},{most}}}"),
        };
        self.repeat(&operator)
    }

    /// What begins with `(?`: a group with a name, or flags, for a group or for what follows.
    fn perl_flags(&mut self) -> Result<(), Complaint> {
        if self.rest.starts_with("(?P<") || self.rest.starts_with("(?<") {
            return self.named_group();
        }
        self.rest = &self.rest[2..];
        let mut folds_case = self.folds_case;
        let (mut is_negated, mut has_flag) = (false, false);
        loop {
            match self.next() {
                Some('i') => folds_case = !is_negated,
                Some('m' | 's' | 'U') => {}
                Some('-') if !is_negated => {
                    is_negated = true;
                    has_flag = false;
                    continue;
                }
                Some(end @ (':' | ')')) if !is_negated || has_flag => {
                    if end == ':' {
                        self.open_group();
                    }
                    self.after_repeat = false;
                    self.folds_case = folds_case;
                    return Ok(());
                }
                _ => return Err(PERL_SYNTAX),
            }
            has_flag = true;
        }
    }

    fn named_group(&mut self) -> Result<(), Complaint> {
        if !self.skip("(?P<") {
            self.skip("(?<");
        }
        let (name, rest) = self.rest.split_once('>').ok_or(NAMED_CAPTURE)?;
        let is_letter = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        if name.is_empty() || !name.chars().all(is_letter) {
            return Err(NAMED_CAPTURE);
        }
        if self.names.contains(&name) {
            return Err(DUPLICATE_CAPTURE);
        }
        self.names.push(name);
        self.rest = rest;
        self.open_group();
        Ok(())
    }

    fn backslash(&mut self) -> Result<(), Complaint> {
        for (escape, atom) in [
            (r"\A", r"(?:\A)"),
            (r"\b", r"(?:\b)"),
            (r"\B", r"(?:\B)"),
            (r"\z", r"(?:\z)"),
        ] {
            if self.skip(escape) {
                self.atom(atom);
                return Ok(());
            }
        }
        if self.skip(r"\Q") {
            let (quoted, rest) = match self.rest.split_once(r"\E") {
                Some(split) => split,
                None => (self.rest, ""),
            };
            self.rest = rest;
            self.after_repeat = false;
            for letter in quoted.chars() {
                self.literal(letter);
            }
            return Ok(());
        }
        if let Some(letters) = self.escaped_group()? {
            self.letters(letters);
            return Ok(());
        }
        let letter = self.escape()?;
        self.literal(letter);
        Ok(())
    }

    /// `\d` and its like, or `\p` with the name of a group, if that is what comes.
    fn escaped_group(&mut self) -> Result<Option<Letters>, Complaint> {
        let mut letters = self.rest.chars();
        if letters.next() != Some('\\') {
            return Ok(None);
        }
        let Some(kind) = letters.next() else {
            return Ok(None);
        };
        if let Some(group) = perl_group(kind) {
            self.rest = letters.as_str();
            return Ok(Some(group.folded(self.folds_case)));
        }
        if !matches!(kind, 'p' | 'P') {
            return Ok(None);
        }
        let rest = letters.as_str();
        let first = letters.next().ok_or(CHAR_RANGE)?;
        let (name, rest) = if first == '{' {
            letters.as_str().split_once('}').ok_or(CHAR_RANGE)?
        } else {
            rest.split_at(first.len_utf8())
        };
        let (name, is_negated) = match name.strip_prefix('^') {
            Some(name) => (name, kind == 'p'),
            None => (name, kind == 'P'),
        };
        // Its tables do not know the other case of small letters.
        let folds_case = self.folds_case && name != "Ll";
        let group = unicode_group(name).ok_or(CHAR_RANGE)?.folded(folds_case);
        self.rest = rest;
        Ok(Some(if is_negated {
            group.complement()
        } else {
            group
        }))
    }

    /// The letter that an escape stands for.
    fn escape(&mut self) -> Result<char, Complaint> {
        self.next();
        match self.next().ok_or(TRAILING_BACKSLASH)? {
            // One digit alone would mean what a group has matched, which is not to be had.
            '1'..='7' if !matches!(self.peek(), Some('0'..='7')) => Err(ESCAPE),
            digit @ '0'..='7' => {
                let mut number = digit.to_digit(8).unwrap_or_default();
                for _ in 0..2 {
                    let Some(next) = self.peek().and_then(|letter| letter.to_digit(8)) else {
                        break;
                    };
                    number = number * 8 + next;
                    self.next();
                }
                char::from_u32(number).ok_or(ESCAPE)
            }
            'x' => self.hexadecimal(),
            'a' => Ok('\x07'),
            'f' => Ok('\x0c'),
            'n' => Ok('\n'),
            'r' => Ok('\r'),
            't' => Ok('\t'),
            'v' => Ok('\x0b'),
            letter if letter.is_ascii_alphanumeric() => Err(ESCAPE),
            letter => Ok(letter),
        }
    }

    fn hexadecimal(&mut self) -> Result<char, Complaint> {
        let digits = if self.skip("{") {
            let (digits, rest) = self.rest.split_once('}').ok_or(ESCAPE)?;
            self.rest = rest;
            digits
        } else {
            let digits = self.rest.get(..2).ok_or(ESCAPE)?;
            self.rest = &self.rest[2..];
            digits
        };
        let is_number = !digits.is_empty() && digits.chars().all(|digit| digit.is_ascii_hexdigit());
        let number = u32::from_str_radix(digits.trim_start_matches('0'), 16);
        match number {
            _ if !is_number => Err(ESCAPE),
            // Java's letters have half a letter too, which no name has.
            Ok(number) if number <= 0x10_ffff => Ok(char::from_u32(number).unwrap_or('\u{fffd}')),
            Ok(_) => Err(ESCAPE),
            // Nothing but zeros, or too many digits.
            Err(_) if digits.trim_start_matches('0').is_empty() => Ok('\0'),
            Err(_) => Err(ESCAPE),
        }
    }

    fn class(&mut self) -> Result<Letters, Complaint> {
        self.next();
        let is_negated = self.skip("^");
        let mut class = Letters::default();
        let mut is_first = true;
        while is_first || self.peek() != Some(']') {
            is_first = false;
            if let Some(letters) = self.named_class()? {
                class = class.union(letters);
                continue;
            }
            if let Some(letters) = self.escaped_group()? {
                class = class.union(letters);
                continue;
            }
            let low = self.class_letter()?;
            let mut high = low;
            if self.rest.starts_with('-') && !self.rest.starts_with("-]") {
                self.next();
                // What ends here is missed where the next element should be.
                if self.rest.is_empty() {
                    return Err(MISSING_BRACKET);
                }
                high = self.class_letter()?;
                if high < low {
                    return Err(CHAR_RANGE);
                }
            }
            class = class.union(Letters::range(low, high, self.folds_case));
        }
        self.next();
        Ok(if is_negated {
            class.complement()
        } else {
            class
        })
    }

    fn class_letter(&mut self) -> Result<char, Complaint> {
        match self.peek() {
            None => Err(MISSING_BRACKET),
            Some('\\') => self.escape(),
            Some(letter) => {
                self.next();
                Ok(letter)
            }
        }
    }

    /// `[:alpha:]` and its like, if that is what comes.
    fn named_class(&mut self) -> Result<Option<Letters>, Complaint> {
        if !self.rest.starts_with("[:") {
            return Ok(None);
        }
        // The end may share its colon with the beginning: then there is no name.
        let Some(end) = self.rest.find(":]") else {
            return Ok(None);
        };
        let name = self.rest.get(2..end).ok_or(CHAR_RANGE)?;
        let rest = &self.rest[end + 2..];
        let (name, is_negated) = match name.strip_prefix('^') {
            Some(name) => (name, true),
            None => (name, false),
        };
        let group = named_group(name).ok_or(CHAR_RANGE)?.folded(self.folds_case);
        self.rest = rest;
        Ok(Some(if is_negated {
            group.complement()
        } else {
            group
        }))
    }
}

/// The counts of `{2}`, `{2,}`, which has no highest one, or `{2,3}`, and what follows; none if it
/// is not that, but a brace.
fn counts(text: &str) -> Option<(u32, Option<u32>, &str)> {
    let text = text.strip_prefix('{')?;
    let (least, text) = count(text)?;
    if let Some(rest) = text.strip_prefix('}') {
        return Some((least, Some(least), rest));
    }
    let text = text.strip_prefix(',')?;
    if let Some(rest) = text.strip_prefix('}') {
        return Some((least, None, rest));
    }
    let (most, text) = count(text)?;
    Some((least, Some(most), text.strip_prefix('}')?))
}

/// A count and what follows; one that is too long to be read is the highest there is.
fn count(text: &str) -> Option<(u32, &str)> {
    let end = text
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    if digits.is_empty() || (digits.len() > 1 && digits.starts_with('0')) {
        return None;
    }
    Some((digits.parse().unwrap_or(u32::MAX), rest))
}
