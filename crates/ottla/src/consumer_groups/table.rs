//! Tables as Kafka's tool prints them.

use std::io::Write as _;

use crate::tool::{Failure, Out};

/// A column's name and the least width of its cells; none stands as wide as it is.
pub(super) type Column = (&'static str, usize);

/// Prints an empty line, the columns' names and the rows.
pub(super) fn write(
    out: &mut Out,
    columns: &[Column],
    rows: &[Vec<String>],
) -> Result<(), Failure> {
    let widths: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(index, (_, width_min))| match width_min {
            0 => 0,
            width_min => {
                let cells = rows
                    .iter()
                    .filter_map(|row| row.get(index))
                    .map(String::len);
                cells.max().unwrap_or(0).max(*width_min)
            }
        })
        .collect();
    let mut line = |cells: &mut dyn Iterator<Item = &str>| {
        let cells: Vec<String> = cells
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        writeln!(out, "{}", cells.join(" "))
    };
    line(&mut [""; 0].into_iter())?;
    line(&mut columns.iter().map(|(name, _)| *name))?;
    for row in rows {
        line(&mut row.iter().map(String::as_str))?;
    }
    Ok(())
}
