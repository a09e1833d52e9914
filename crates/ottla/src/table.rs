//! Tables as Kafka's tools print them.

use std::io::Write as _;

use crate::tool::{Failure, Out};

/// A column's name and the least width of its cells; none stands as wide as it is.
pub(crate) type Column<'a> = (&'a str, usize);

/// Prints an empty line, the columns' names and the rows, all parted by spaces.
pub(crate) fn write(
    out: &mut Out,
    columns: &[Column<'_>],
    rows: &[Vec<String>],
) -> Result<(), Failure> {
    writeln!(out)?;
    write_plain(out, columns, rows)
}

/// The same without an empty line.
pub(crate) fn write_plain(
    out: &mut Out,
    columns: &[Column<'_>],
    rows: &[Vec<String>],
) -> Result<(), Failure> {
    let widths: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(index, (_, width_min))| match width_min {
            0 => 0,
            width_min => widest(rows, index).max(*width_min),
        })
        .collect();
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    line(out, &widths, names)?;
    for row in rows {
        line(out, &widths, row.iter().map(String::as_str))?;
    }
    Ok(())
}

/// One row by itself, whatever the width of others.
pub(crate) fn write_row(
    out: &mut Out,
    columns: &[Column<'_>],
    row: &[String],
) -> Result<(), Failure> {
    let widths: Vec<usize> = columns.iter().map(|(_, width)| *width).collect();
    line(out, &widths, row.iter().map(String::as_str))
}

fn line<'a>(
    out: &mut Out,
    widths: &[usize],
    cells: impl IntoIterator<Item = &'a str>,
) -> Result<(), Failure> {
    let cells: Vec<String> = cells
        .into_iter()
        .zip(widths)
        .map(|(cell, width)| format!("{cell:<width$}"))
        .collect();
    writeln!(out, "{}", cells.join(" "))?;
    Ok(())
}

/// Prints columns that are as wide as what is in them, each followed by a tab.
pub(crate) fn write_tabbed(
    out: &mut Out,
    names: &[&str],
    rows: &[Vec<String>],
) -> Result<(), Failure> {
    let widths: Vec<usize> = names
        .iter()
        .enumerate()
        .map(|(index, name)| widest(rows, index).max(name.len()))
        .collect();
    let mut line = |cells: &mut dyn Iterator<Item = &str>| {
        for (cell, width) in cells.zip(&widths) {
            write!(out, "{cell:<width$}\t")?;
        }
        writeln!(out)
    };
    line(&mut names.iter().copied())?;
    for row in rows {
        line(&mut row.iter().map(String::as_str))?;
    }
    Ok(())
}

/// The width of the column's longest cell, in characters.
fn widest(rows: &[Vec<String>], index: usize) -> usize {
    let cells = rows.iter().filter_map(|row| row.get(index));
    cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
}
