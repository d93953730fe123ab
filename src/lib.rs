//! Pointsman: a reverse-proxy routing gateway with two backends per route.
pub mod admin;
pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod controller;
pub mod domain;
pub mod live;
pub mod measure;
pub mod proxy;
pub mod telemetry;
pub mod upstream;
