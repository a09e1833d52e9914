//! Members in the order of how much they have, from both ends, while partitions move from the one
//! end to the other.

/// The members of a topic, the least loaded first.
///
/// At each end is a range of members that have the same number of partitions: they are given to,
/// or taken from, in turn; when all of a range have had their turn it grows by those that now have
/// as much.
#[derive(Debug)]
pub(super) struct MemberBalancer {
    members: Vec<usize>,
    least: LeastLoaded,
    most: MostLoaded,
}

#[derive(Debug)]
struct LeastLoaded {
    end: usize,
    /// How much each in the range has had before this turn.
    load: i64,
    next: usize,
}

#[derive(Debug)]
struct MostLoaded {
    start: usize,
    end: usize,
    load: i64,
    /// The place after the one whose turn it is: 0 when there is none.
    next: usize,
}

impl MemberBalancer {
    /// Of these members, that have these numbers of partitions.
    pub(super) fn new(members: &[usize], sizes: &[usize]) -> Self {
        let mut members = members.to_vec();
        members.sort_by_key(|member| (sizes[*member], *member));
        let count = members.len();
        let load = |place: usize| {
            members
                .get(place)
                .map_or(0, |member| signed(sizes[*member]))
        };
        let (least, most) = (load(0), load(count.saturating_sub(1)));
        Self {
            least: LeastLoaded {
                end: 0,
                load: least - 1,
                next: 0,
            },
            most: MostLoaded {
                start: count,
                end: count,
                load: most + 1,
                next: count,
            },
            members,
        }
    }

    /// How much more the one with the most has than the one with the least.
    pub(super) fn imbalance(&self, sizes: &[usize]) -> i64 {
        match (self.members.first(), self.members.last()) {
            (Some(first), Some(last)) => signed(sizes[*last]) - signed(sizes[*first]),
            _ => 0,
        }
    }

    /// The member whose turn it is to be given a partition.
    pub(super) fn next_least_loaded(&mut self, sizes: &[usize]) -> usize {
        let least = &mut self.least;
        if least.next >= least.end {
            least.load += 1;
            while self
                .members
                .get(least.end)
                .is_some_and(|member| signed(sizes[*member]) == least.load)
            {
                least.end += 1;
            }
            least.next = 0;
        }
        let member = self.members[least.next];
        least.next += 1;
        member
    }

    /// The member whose turn it is to give a partition, unless all are excluded.
    pub(super) fn next_most_loaded(&mut self, sizes: &[usize]) -> Option<usize> {
        let most = &mut self.most;
        if most.next <= most.start {
            if most.end <= most.start && most.start > 0 {
                most.load = signed(sizes[self.members[most.start - 1]]);
            } else {
                most.load -= 1;
            }
            while most.start > 0 && signed(sizes[self.members[most.start - 1]]) == most.load {
                most.start -= 1;
            }
            most.next = most.end;
        }
        most.next = most.next.checked_sub(1)?;
        Some(self.members[most.next])
    }

    /// The member that came last has nothing to give: it is asked no more.
    pub(super) fn exclude_most_loaded(&mut self) {
        let last = self.most.end - 1;
        self.members.swap(self.most.next, last);
        self.most.end = last;
    }

    /// Whether there is nothing to be gained any more.
    pub(super) fn is_balanced(&self) -> bool {
        self.most.load - self.least.load <= 1
    }
}

fn signed(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}
