//! Log lines on standard error, shaped like Kafka's: `[2026-11-24 14:11:57,123] INFO message (target)`.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Sets logging up for the process: `OTTLA_LOG` or `RUST_LOG` decides what is shown, else `default`.
pub(crate) fn set_up(default: &str) {
    let wanted = ["OTTLA_LOG", "RUST_LOG"]
        .iter()
        .find_map(|name| std::env::var(name).ok());
    let wanted = wanted
        .filter(|text| !text.trim().is_empty())
        .unwrap_or_else(|| default.to_owned());
    let filter = EnvFilter::try_new(&wanted).unwrap_or_else(|_| EnvFilter::new(default));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .event_format(KafkaLine)
        .finish();
    // A second call, in a test, leaves the first in force.
    let _ = tracing::subscriber::set_global_default(subscriber);
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
    fn dates_follow_the_calendar() {
        assert_eq!(date_and_time(0), "1970-01-01 00:00:00,000");
        assert_eq!(date_and_time(951_782_400_000), "2000-02-29 00:00:00,000");
        assert_eq!(date_and_time(1_795_530_022_319), "2026-11-24 14:20:22,319");
        assert_eq!(date_and_time(4_107_542_399_999), "2100-02-28 23:59:59,999");
        assert_eq!(date_and_time(4_107_542_400_000), "2100-03-01 00:00:00,000");
    }
}
