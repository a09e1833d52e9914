//! Options that have a newer name.

use std::io::Write as _;

use crate::options::Options;
use crate::tool::{Failure, Out};

/// Says which of the options given have a newer name; refuses both together.
pub(crate) fn announce(
    options: &Options,
    renamed: &[(&str, &str)],
    out: &mut Out,
) -> Result<(), Failure> {
    for (old, new) in renamed {
        if !options.has(old) {
            continue;
        }
        crate::tool::forbid(options, old, &[new])?;
        writeln!(
            out,
            "Option --{old} is deprecated and will be removed in a future version. Use --{new} \
             instead."
        )?;
    }
    Ok(())
}
