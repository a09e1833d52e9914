//! Groups of the consumer protocol (KIP-848): ConsumerGroupHeartbeat.
//!
//! All of a consumer group is in its records: the members with their subscriptions, the target
//! assignment, and what each member has at the moment. A decision reads the group and makes records,
//! and their replay moves it. In memory only are the deadlines, and when the group's topics are to
//! be looked at again.
//!
//! | module | holds |
//! |---|---|
//! | `group`, `member`, `assignment` | the state |
//! | `replay`, `records` | the state from its records, and its records |
//! | `heartbeat`, `leave`, `validate` | what members ask |
//! | `decision` | subscriptions, epochs and the target assignment |
//! | `reconcile` | a member's next step towards its target assignment |
//! | `assignor` | target assignments |
//! | `regex`, `expression`, `re2`, `re2_class` | subscriptions by expression |
//! | `migration`, `classic_member` | groups and members that change their protocol |

pub(super) mod assignment;
mod assignor;
mod classic_member;
mod coordinate;
mod decision;
mod describe;
mod expression;
mod group;
mod heartbeat;
mod leave;
mod member;
mod migration;
mod offsets;
mod re2;
mod re2_class;
mod reconcile;
mod records;
mod regex;
mod replay;
mod settings;
mod validate;

pub use assignor::Assignor;

pub(super) use group::{ConsumerGroup, SubscriptionType};
pub(super) use member::ConsumerMember;
