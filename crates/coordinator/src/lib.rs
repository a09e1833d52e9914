//! Coordinators as decide and replay cores.
