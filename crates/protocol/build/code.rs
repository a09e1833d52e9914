//! Text of the generated program.

/// Lines, indented by the braces they open and close.
#[derive(Default)]
pub(crate) struct Code {
    text: String,
    depth: usize,
}

impl Code {
    /// Adds a line.
    pub(crate) fn line(&mut self, line: impl AsRef<str>) {
        let line = line.as_ref();
        if line.starts_with(['}', ')', ']']) {
            self.depth -= 1;
        }
        self.text.push_str(&"    ".repeat(self.depth));
        self.text.push_str(line);
        self.text.push('\n');
        if line.ends_with(['{', '(', '[']) {
            self.depth += 1;
        }
    }

    /// Adds a line of documentation.
    pub(crate) fn doc(&mut self, line: impl AsRef<str>) {
        self.line(format!("/// {}", line.as_ref()));
    }

    /// The program so far.
    pub(crate) fn into_text(self) -> String {
        assert_eq!(self.depth, 0, "unbalanced braces in generated code");
        self.text
    }
}
