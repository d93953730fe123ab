//! Pointsman: a reverse-proxy routing gateway with two backends per route.
pub mod cli;
pub mod clock;
pub mod config;
pub mod domain;
