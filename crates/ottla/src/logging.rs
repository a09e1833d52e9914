//! Log lines on standard error, shaped like Kafka's: `[2026-11-24 14:11:57,123] INFO message (target)`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use ottla_broker::loggers::{self, LogLevels};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::reload;

const ROOT: &str = "root";
/// The loggers besides `root`: what stands first in the brackets at the end of each line.
const LOGGERS: [&str; 8] = [
    "ottla",
    "ottla_broker",
    "ottla_client",
    "ottla_coordinator",
    "ottla_log",
    "ottla_metadata",
    "ottla_protocol",
    "ottla_raft",
];

/// Sets logging up for the process: `OTTLA_LOG` or `RUST_LOG` decides what is shown, else `default`.
pub(crate) fn set_up(default: &str) {
    let wanted = ["OTTLA_LOG", "RUST_LOG"]
        .iter()
        .find_map(|name| std::env::var(name).ok());
    let wanted = wanted
        .filter(|text| !text.trim().is_empty())
        .unwrap_or_else(|| default.to_owned());
    let (wanted, filter) = match EnvFilter::try_new(&wanted) {
        Ok(filter) => (wanted, filter),
        Err(_) => (default.to_owned(), EnvFilter::new(default)),
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .event_format(KafkaLine)
        .with_filter_reloading();
    let handle = builder.reload_handle();
    loggers::install(Box::new(Levels::new(wanted, move |filter| {
        handle
            .reload(filter)
            .map_err(|error: reload::Error| error.to_string())
    })));
    let subscriber = builder.finish();
    // A second call, in a test, leaves the first in force.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// Puts a filter in force.
type Reload = Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>;

/// The levels in force: those that the process began with, and those set since.
struct Levels {
    initial: String,
    set: Mutex<BTreeMap<String, String>>,
    reload: Reload,
}

impl Levels {
    fn new(
        initial: String,
        reload: impl Fn(EnvFilter) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        Self {
            initial,
            set: Mutex::default(),
            reload: Box::new(reload),
        }
    }

    /// What the process began with, for a logger that it names.
    fn initial(&self, logger: &str) -> Option<String> {
        let directives = self.initial.split(',').map(str::trim);
        let level = directives.rev().find_map(|directive| {
            let (name, level) = directive.split_once('=').unwrap_or((ROOT, directive));
            (name == logger).then_some(level)
        })?;
        Some(level.to_ascii_uppercase())
    }

    fn level(&self, set: &BTreeMap<String, String>, logger: &str) -> Option<String> {
        set.get(logger).cloned().or_else(|| self.initial(logger))
    }
}

impl LogLevels for Levels {
    fn levels(&self) -> Vec<(String, String)> {
        let set = self.set.lock().unwrap_or_else(PoisonError::into_inner);
        let root = self.level(&set, ROOT).unwrap_or_else(|| "ERROR".to_owned());
        let own = LOGGERS.map(|logger| {
            let level = self.level(&set, logger).unwrap_or_else(|| root.clone());
            (logger.to_owned(), level)
        });
        let mut levels = own.to_vec();
        levels.push((ROOT.to_owned(), root));
        levels
    }

    fn set(&self, logger: &str, level: Option<&str>) -> Result<(), String> {
        let mut set = self.set.lock().unwrap_or_else(PoisonError::into_inner);
        let root = self.level(&set, ROOT).unwrap_or_else(|| "ERROR".to_owned());
        let level = level.map_or(root, str::to_owned);
        let mut changed = set.clone();
        changed.insert(logger.to_owned(), level);
        let mut directives = self.initial.clone();
        for (logger, level) in &changed {
            // What ends the process is shown as an error.
            let level = if level == "FATAL" { "ERROR" } else { level };
            directives += &match logger.as_str() {
                ROOT => format!(",{level}"),
                _ => format!(",{logger}={level}"),
            };
        }
        let filter = EnvFilter::try_new(directives).map_err(|error| error.to_string())?;
        (self.reload)(filter)?;
        *set = changed;
        Ok(())
    }
}

struct KafkaLine;

impl<S, N> FormatEvent<S, N> for KafkaLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let millis = u64::try_from(since_epoch.as_millis()).unwrap_or_default();
        let metadata = event.metadata();
        write!(writer, "[{}] {} ", date_and_time(millis), metadata.level())?;
        context
            .field_format()
            .format_fields(writer.by_ref(), event)?;
        writeln!(writer, " ({})", metadata.target())
    }
}

/// UTC, as `2026-11-24 14:11:57,123`.
pub(crate) fn date_and_time(millis: u64) -> String {
    let (seconds, millis) = (millis / 1000, millis % 1000);
    let (days, second_of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil_date(days);
    let (hour, minute, second) = (
        second_of_day / 3600,
        second_of_day / 60 % 60,
        second_of_day % 60,
    );
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02},{millis:03}")
}

/// The date so many days after 1970-01-01, in the Gregorian calendar: counted in eras of 400 years that start on a
/// first of March, so that the leap day comes last in its year.
fn civil_date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_change_and_follow_root_again() {
        let shown = std::sync::Arc::new(Mutex::new(String::new()));
        let seen = std::sync::Arc::clone(&shown);
        let levels = Levels::new("info,ottla_log=debug".to_owned(), move |filter| {
            *seen.lock().unwrap() = filter.to_string();
            Ok(())
        });
        let level = |logger: &str| {
            let levels = levels.levels();
            let found = levels.into_iter().find(|(name, _)| name == logger);
            found.unwrap().1
        };
        assert_eq!(
            [level("root"), level("ottla_log"), level("ottla_raft")],
            ["INFO", "DEBUG", "INFO"]
        );
        levels.set("ottla_raft", Some("TRACE")).unwrap();
        levels.set("root", Some("WARN")).unwrap();
        levels.set("ottla_log", None).unwrap();
        assert_eq!(
            [level("root"), level("ottla_log"), level("ottla_raft")],
            ["WARN", "WARN", "TRACE"]
        );
        let shown = shown.lock().unwrap();
        let mut directives: Vec<&str> = shown.split(',').collect();
        directives.sort_unstable();
        assert_eq!(directives, ["ottla_log=warn", "ottla_raft=trace", "warn"]);
    }

    #[test]
    fn dates_follow_the_calendar() {
        assert_eq!(date_and_time(0), "1970-01-01 00:00:00,000");
        assert_eq!(date_and_time(951_782_400_000), "2000-02-29 00:00:00,000");
        assert_eq!(date_and_time(1_795_530_022_319), "2026-11-24 14:20:22,319");
        assert_eq!(date_and_time(4_107_542_399_999), "2100-02-28 23:59:59,999");
        assert_eq!(date_and_time(4_107_542_400_000), "2100-03-01 00:00:00,000");
    }
}
