//! Which brokers a controller could reach, and which of them seem to have ended.
//!
//! A broker whose process ends closes its connections and its listener, and its host says so at once; a session that
//! runs out says it seconds later. But a firewall, too, can say that nobody listens. So a refusal counts only of a
//! listener that this controller has reached before in that life of the broker, twice in a row, with no heartbeat in
//! between, and while others can still be reached. Whatever else is seen, the session decides as ever.

use std::collections::BTreeMap;

use ottla_protocol::Uuid;
use ottla_protocol::ids::BrokerId;

use crate::net::peer::PeerAddress;

/// How long a broker may be silent that has ended its heartbeats' connection.
pub(super) const SILENCE_MS: i64 = 300;
/// How many refusals in a row it takes.
const REFUSALS: u32 = 2;
/// How often each listener is looked at while nothing is wrong.
const PROBE_INTERVAL_MS: i64 = 10_000;
/// A listener that has been refusing for so long while its broker lived is no witness any more.
const DOUBT_MS: i64 = 5_000;

/// What an attempt to connect has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Probed {
    Reached,
    Refused,
    /// Nothing was heard, or something else went wrong.
    Unclear,
}

/// What is to be done after an attempt to connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Nothing,
    ProbeAgain,
    Ended,
}

#[derive(Debug, Clone, Copy)]
struct Suspicion {
    since_ms: i64,
    refusals: u32,
}

/// A life of a broker, as seen from here.
#[derive(Debug, Clone)]
struct Watched {
    incarnation_id: Uuid,
    address: PeerAddress,
    was_reached: bool,
    /// Since when its listener has refused while nothing else was wrong.
    refusing_since_ms: Option<i64>,
    /// When it was last tried without a suspicion.
    last_probe_ms: i64,
    suspicion: Option<Suspicion>,
}

/// The brokers that serve, without that of this process.
#[derive(Debug, Default)]
pub(super) struct Reachability {
    brokers: BTreeMap<BrokerId, Watched>,
}

impl Reachability {
    /// These brokers serve now, each in this life and at this address.
    pub(super) fn observe(&mut self, serving: impl Iterator<Item = (BrokerId, Uuid, PeerAddress)>) {
        let mut before = std::mem::take(&mut self.brokers);
        for (id, incarnation_id, address) in serving {
            let known = before
                .remove(&id)
                .filter(|known| known.incarnation_id == incarnation_id);
            let watched = known.unwrap_or(Watched {
                incarnation_id,
                address,
                was_reached: false,
                refusing_since_ms: None,
                last_probe_ms: i64::MIN / 2,
                suspicion: None,
            });
            self.brokers.insert(id, watched);
        }
    }

    /// The brokers whose listeners are to be tried now for no particular reason.
    pub(super) fn due(&mut self, now_ms: i64) -> Vec<BrokerId> {
        let mut due = Vec::new();
        for (id, watched) in &mut self.brokers {
            if watched.suspicion.is_none() && now_ms - watched.last_probe_ms >= PROBE_INTERVAL_MS {
                watched.last_probe_ms = now_ms;
                due.push(*id);
            }
        }
        due
    }

    /// Where a broker is to be tried, and in which life.
    pub(super) fn address(&self, id: BrokerId) -> Option<(Uuid, PeerAddress)> {
        let watched = self.brokers.get(&id)?;
        Some((watched.incarnation_id, watched.address.clone()))
    }

    /// Every broker that is watched.
    pub(super) fn ids(&self) -> Vec<BrokerId> {
        self.brokers.keys().copied().collect()
    }

    /// Whether the broker may have ended.
    pub(super) fn is_suspected(&self, id: BrokerId) -> bool {
        let watched = self.brokers.get(&id);
        watched.is_some_and(|watched| watched.suspicion.is_some())
    }

    /// The broker may have ended. Says whether that is news.
    pub(super) fn suspect(&mut self, id: BrokerId, now_ms: i64) -> bool {
        let Some(watched) = self.brokers.get_mut(&id) else {
            return false;
        };
        let is_news = watched.suspicion.is_none();
        watched.suspicion.get_or_insert(Suspicion {
            since_ms: now_ms,
            refusals: 0,
        });
        is_news
    }

    /// The broker lives.
    pub(super) fn heard(&mut self, id: BrokerId) {
        if let Some(watched) = self.brokers.get_mut(&id) {
            watched.suspicion = None;
        }
    }

    /// What an attempt to connect to this life of a broker has shown.
    pub(super) fn probed(
        &mut self,
        id: BrokerId,
        incarnation_id: Uuid,
        probed: Probed,
        now_ms: i64,
    ) -> Verdict {
        let others_are_there = self.others_are_there(id);
        let current = |watched: &&mut Watched| watched.incarnation_id == incarnation_id;
        let Some(watched) = self.brokers.get_mut(&id).filter(current) else {
            return Verdict::Nothing;
        };
        let is_witness = watched.was_reached
            && watched
                .refusing_since_ms
                .is_none_or(|since_ms| now_ms - since_ms < DOUBT_MS);
        match (probed, &mut watched.suspicion) {
            (Probed::Reached, _) => {
                watched.was_reached = true;
                watched.refusing_since_ms = None;
                watched.suspicion = None;
                Verdict::Nothing
            }
            (Probed::Unclear, _) => {
                watched.suspicion = None;
                Verdict::Nothing
            }
            (Probed::Refused, None) => {
                watched.refusing_since_ms.get_or_insert(now_ms);
                Verdict::Nothing
            }
            (Probed::Refused, Some(_)) if !is_witness => {
                watched.suspicion = None;
                Verdict::Nothing
            }
            (Probed::Refused, Some(suspicion)) => {
                suspicion.refusals += 1;
                let is_silent = now_ms - suspicion.since_ms >= SILENCE_MS;
                if !is_silent || suspicion.refusals < REFUSALS {
                    return Verdict::ProbeAgain;
                }
                watched.suspicion = None;
                if others_are_there {
                    Verdict::Ended
                } else {
                    // It is more likely that this controller is cut off.
                    Verdict::Nothing
                }
            }
        }
    }

    /// Whether not all of the others are suspected too; where there are no others, nothing speaks against it.
    fn others_are_there(&self, id: BrokerId) -> bool {
        let mut others = self.brokers.iter().filter(|(other, _)| **other != id);
        let is_only_one = self.brokers.len() <= 1;
        is_only_one || others.any(|(_, other)| other.suspicion.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: BrokerId = BrokerId(1);
    const TWO: BrokerId = BrokerId(2);
    const LIFE: Uuid = Uuid([1; 16]);

    fn watching() -> Reachability {
        let mut table = Reachability::default();
        observe(&mut table, &[(ONE, LIFE), (TWO, LIFE)]);
        assert_eq!(table.due(0), [ONE, TWO]);
        for id in [ONE, TWO] {
            table.probed(id, LIFE, Probed::Reached, 1);
        }
        table
    }

    fn observe(table: &mut Reachability, brokers: &[(BrokerId, Uuid)]) {
        let address = PeerAddress {
            host: "host".to_owned(),
            port: 9092,
        };
        let brokers = brokers.iter();
        table.observe(brokers.map(|(id, life)| (*id, *life, address.clone())));
    }

    #[test]
    fn who_refuses_twice_and_is_silent_has_ended() {
        let mut table = watching();
        assert!(table.suspect(ONE, 1_000));
        assert!(!table.suspect(ONE, 1_010), "that was known");
        let first = table.probed(ONE, LIFE, Probed::Refused, 1_150);
        assert_eq!(first, Verdict::ProbeAgain);
        let second = table.probed(ONE, LIFE, Probed::Refused, 1_299);
        assert_eq!(second, Verdict::ProbeAgain, "it may still be heard");
        let third = table.probed(ONE, LIFE, Probed::Refused, 1_300);
        assert_eq!(third, Verdict::Ended);
    }

    #[test]
    fn who_is_heard_or_reached_or_lives_anew_has_not_ended() {
        let mut table = watching();
        table.suspect(ONE, 1_000);
        table.probed(ONE, LIFE, Probed::Refused, 1_150);
        table.heard(ONE);
        let late = table.probed(ONE, LIFE, Probed::Refused, 1_300);
        assert_eq!(late, Verdict::Nothing);

        let mut table = watching();
        table.suspect(ONE, 1_000);
        for (probed, at_ms) in [(Probed::Reached, 1_150), (Probed::Refused, 1_300)] {
            assert_eq!(table.probed(ONE, LIFE, probed, at_ms), Verdict::Nothing);
        }

        let mut table = watching();
        table.suspect(ONE, 1_000);
        observe(&mut table, &[(ONE, Uuid([2; 16])), (TWO, LIFE)]);
        let earlier = table.probed(ONE, LIFE, Probed::Refused, 1_300);
        assert_eq!(earlier, Verdict::Nothing);
    }

    #[test]
    fn a_listener_that_was_never_reached_or_refuses_the_living_is_no_witness() {
        let mut table = Reachability::default();
        observe(&mut table, &[(ONE, LIFE), (TWO, LIFE)]);
        table.suspect(ONE, 1_000);
        let never = table.probed(ONE, LIFE, Probed::Refused, 1_150);
        assert_eq!(never, Verdict::Nothing);

        let mut table = watching();
        table.probed(ONE, LIFE, Probed::Refused, 10_000);
        table.heard(ONE);
        table.suspect(ONE, 20_000);
        let refusing = table.probed(ONE, LIFE, Probed::Refused, 20_150);
        assert_eq!(refusing, Verdict::Nothing);
    }

    #[test]
    fn who_loses_everybody_is_cut_off_itself() {
        let mut table = watching();
        for id in [ONE, TWO] {
            table.suspect(id, 1_000);
        }
        for id in [ONE, TWO] {
            table.probed(id, LIFE, Probed::Refused, 1_150);
        }
        let last = table.probed(ONE, LIFE, Probed::Refused, 1_300);
        assert_eq!(last, Verdict::Nothing);
    }
}
