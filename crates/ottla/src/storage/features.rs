//! `version-mapping` and `feature-dependencies`.

use ottla_metadata::features::{Feature, METADATA_VERSION, MetadataVersion};

use super::{Failure, Report};

/// The level of a release, or Kafka's words for one that doesn't exist.
pub(super) fn parse_release(text: &str) -> Result<MetadataVersion, Failure> {
    text.parse().map_err(|_| {
        let names: Vec<&str> = MetadataVersion::all().map(MetadataVersion::name).collect();
        format!(
            "Unknown {METADATA_VERSION} '{text}'. Supported {METADATA_VERSION} are: {}",
            names.join(", ")
        )
        .into()
    })
}

pub(super) fn version_mapping(text: Option<&str>) -> Result<Report, Failure> {
    let version = text.map_or(Ok(MetadataVersion::LATEST_PRODUCTION), parse_release)?;
    let mut report = Report::default();
    report.line(format!(
        "{METADATA_VERSION}={} ({})",
        version.level(),
        text.unwrap_or(version.name())
    ));
    for feature in MAPPED {
        report.line(format!(
            "{}={}",
            feature.name(),
            feature.default_level(version)
        ));
    }
    Ok(report)
}

/// In the order in which Kafka lists them.
const MAPPED: [Feature; 6] = [
    Feature::KRaft,
    Feature::Transaction,
    Feature::Group,
    Feature::EligibleLeaderReplicas,
    Feature::Share,
    Feature::Streams,
];

pub(super) fn dependencies(features: &[String]) -> Result<Report, Failure> {
    let mut report = Report::default();
    for text in features {
        if let Err(failure) = one_dependency(text, &mut report) {
            return Err(Failure {
                said: report.text,
                ..failure
            });
        }
    }
    Ok(report)
}

fn one_dependency(text: &str, report: &mut Report) -> Result<(), Failure> {
    let (name, level) = text
        .split_once('=')
        .and_then(|(name, level)| Some((name, level.parse::<i16>().ok()?)))
        .ok_or_else(|| {
            format!("Invalid feature format: {text}. Expected format: 'feature=version' (e.g. 'group.version=1')")
        })?;
    if name == METADATA_VERSION {
        let version = MetadataVersion::from_level(level)
            .ok_or_else(|| format!("Unknown {METADATA_VERSION} {level}"))?;
        report.line(format!(
            "{name}={level} ({}) has no dependencies.",
            version.name()
        ));
        return Ok(());
    }
    let feature = Feature::from_name(name).ok_or_else(|| format!("Unknown feature: {name}"))?;
    if !(0..=feature.latest_level()).contains(&level) {
        return Err(format!("Feature level {level} is not supported for feature {name}").into());
    }
    match feature.required_metadata_version(level) {
        None => report.line(format!("{name}={level} has no dependencies.")),
        Some(needed) => {
            report.line(format!("{name}={level} requires:"));
            report.line(format!(
                "    {METADATA_VERSION}={} ({})",
                needed.level(),
                needed.name()
            ));
        }
    }
    Ok(())
}
