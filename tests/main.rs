//! The real binaries on real files: what a user sees.

mod caches;
mod keras;
mod incremental;
mod shards;
mod ray;
mod deploy;
mod orientation;
mod bad_input;
mod photos;
mod crash;
mod damage;
mod training;
mod classify;
mod import;
mod pipes;
mod browser;
mod python;
mod modules;
mod dependencies;
mod lean;
mod install;
