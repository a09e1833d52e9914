//! What was found, in words for an operator.

use std::fmt;
use std::path::{Path, PathBuf};

/// One thing that an operator should know.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Finding {
    /// What it is, in one line.
    pub(super) what: String,
    /// The file, directory, setting or topic.
    pub(super) place: String,
    /// What to do about it.
    pub(super) remedy: String,
}

/// All that was found.
#[derive(Debug)]
pub(super) struct Findings {
    target: PathBuf,
    obstacles: Vec<Finding>,
    notes: Vec<Finding>,
    looked_at: Vec<String>,
}

impl Findings {
    pub(super) fn of(target: &Path) -> Self {
        Self {
            target: target.to_owned(),
            obstacles: Vec::new(),
            notes: Vec::new(),
            looked_at: Vec::new(),
        }
    }

    /// Something with which Ottla would not start, or would not serve what is there.
    pub(super) fn obstacle(
        &mut self,
        what: impl Into<String>,
        place: impl fmt::Display,
        remedy: impl Into<String>,
    ) {
        self.obstacles.push(finding(what, place, remedy));
    }

    /// Something that works otherwise than before, or not yet.
    pub(super) fn note(
        &mut self,
        what: impl Into<String>,
        place: impl fmt::Display,
        remedy: impl Into<String>,
    ) {
        self.notes.push(finding(what, place, remedy));
    }

    /// What the result rests on.
    pub(super) fn looked_at(&mut self, what: String) {
        self.looked_at.push(what);
    }

    pub(super) fn stand_in_the_way(&self) -> bool {
        !self.obstacles.is_empty()
    }
}

fn finding(
    what: impl Into<String>,
    place: impl fmt::Display,
    remedy: impl Into<String>,
) -> Finding {
    Finding {
        what: what.into(),
        place: place.to_string(),
        remedy: remedy.into(),
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{}", self.target.display())?;
        for line in &self.looked_at {
            writeln!(formatter, "  read: {line}")?;
        }
        for (title, findings) in [
            ("IN THE WAY", &self.obstacles),
            ("worth knowing", &self.notes),
        ] {
            for finding in findings {
                writeln!(formatter, "\n{title}: {}", finding.what)?;
                writeln!(formatter, "  where: {}", finding.place)?;
                writeln!(formatter, "  do:    {}", finding.remedy)?;
            }
        }
        match self.obstacles.len() {
            0 => writeln!(formatter, "\nNothing stands in the way."),
            1 => writeln!(formatter, "\n1 thing stands in the way."),
            count => writeln!(formatter, "\n{count} things stand in the way."),
        }
    }
}
