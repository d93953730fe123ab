//! Pointsman: a reverse-proxy routing gateway with two backends per route.
pub mod domain;
